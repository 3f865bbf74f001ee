import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { Lanes, type Work } from '../../../consumers/neuros/lanes.ts';
import { Slots, reservedBy } from '../../../consumers/neuros/slots.ts';
import { Window } from '../../../consumers/neuros/window.ts';
import type { Priority } from '../../../schemas/biometric-event.ts';

const unexpected = (error: unknown): never => assert.fail(String(error));

/** A work that ends, or pauses, when the test says so. */
class ManualWork implements Work {
  readonly name: string;
  readonly log: string[];
  attempts: ((pauseMs?: number) => void)[] = [];
  constructor(name: string, log: string[]) {
    this.name = name;
    this.log = log;
  }
  attempt(): Promise<number | undefined> {
    this.log.push(this.name);
    return new Promise((resolve) => this.attempts.push(resolve));
  }
  async end(pauseMs?: number): Promise<void> {
    this.attempts.shift()!(pauseMs);
    await turn();
    await turn();
  }
  done(): void {
    this.log.push(`${this.name} done`);
  }
}

describe('slots', () => {
  it('keep those that are reserved, and give the others to whoever asks first', () => {
    const slots = new Slots(8, reservedBy(8));
    const takenBy = (priority: Priority): number => {
      let taken = 0;
      while (slots.take(priority)) taken += 1;
      return taken;
    };
    assert.equal(takenBy('NORMAL'), 5, '8 without 2 of HIGH and 1 of MEDIUM');
    assert.equal(takenBy('HIGH'), 2);
    assert.equal(takenBy('MEDIUM'), 1);
    slots.release('NORMAL');
    assert.equal(takenBy('HIGH'), 1);
    assert.equal(slots.atWork('HIGH'), 3);
    // One of NORMAL is at work still, so that nothing is kept for it.
    for (let at = 0; at < 4; at += 1) slots.release('NORMAL');
    assert.equal(takenBy('HIGH'), 3, 'all but the one reserved for NORMAL');
    assert.equal(takenBy('NORMAL'), 1);
  });
});

describe('lanes', () => {
  it('run the works of a user one after the other, and users next to each other', async () => {
    const log: string[] = [];
    const lanes = new Lanes({ concurrency: 8, reserved: reservedBy(8) }, unexpected);
    const [a1, a2, b1] = ['a1', 'a2', 'b1'].map((name) => new ManualWork(name, log));
    lanes.add('NORMAL', 'a', a1!);
    lanes.add('NORMAL', 'a', a2!);
    lanes.add('NORMAL', 'b', b1!);
    assert.deepEqual(log, ['a1', 'b1']);
    await a1!.end();
    assert.deepEqual(log, ['a1', 'b1', 'a1 done', 'a2']);
  });

  it('start the most urgent first when a slot is free', async () => {
    const log: string[] = [];
    const lanes = new Lanes({ concurrency: 3, reserved: { HIGH: 1, MEDIUM: 1, NORMAL: 1 } }, unexpected);
    const first = new ManualWork('high 1', log);
    lanes.add('HIGH', '1', first);
    lanes.add('HIGH', '2', new ManualWork('high 2', log));
    const normal = new ManualWork('normal 1', log);
    lanes.add('NORMAL', '3', normal);
    lanes.add('NORMAL', '4', new ManualWork('normal 2', log));
    assert.deepEqual(log, ['high 1', 'normal 1']);
    await normal.end();
    await first.end();
    assert.deepEqual(log.slice(2), ['normal 1 done', 'normal 2', 'high 1 done', 'high 2']);
  });

  it('hold up one user, and no slot, between two attempts', async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const log: string[] = [];
    const lanes = new Lanes({ concurrency: 3, reserved: reservedBy(3) }, unexpected);
    const failing = new ManualWork('failing', log);
    const [next, other] = [new ManualWork('next', log), new ManualWork('other', log)];
    lanes.add('NORMAL', 'a', failing);
    lanes.add('NORMAL', 'a', next);
    lanes.add('NORMAL', 'b', other);
    await failing.end(500);
    assert.deepEqual(log, ['failing', 'other']);
    await other.end();
    t.mock.timers.tick(499);
    assert.equal(log.at(-1), 'other done');
    t.mock.timers.tick(1);
    assert.equal(log.at(-1), 'failing');
    await failing.end();
    assert.equal(log.at(-1), 'next');
  });

  it('drop what another reader does, but not what is being attempted', async () => {
    const log: string[] = [];
    const lanes = new Lanes({ concurrency: 8, reserved: reservedBy(8) }, unexpected);
    const [a1, a2, a3] = ['a1', 'a2', 'a3'].map((name) => new ManualWork(name, log));
    lanes.add('NORMAL', 'p1/a', a1!);
    lanes.add('NORMAL', 'p1/a', a2!);
    lanes.drop((key) => key.startsWith('p1/'));
    // The partition comes back: its works wait for the one that is still being attempted.
    lanes.add('NORMAL', 'p1/a', a3!);
    assert.deepEqual(log, ['a1']);
    await a1!.end();
    assert.deepEqual(log, ['a1', 'a1 done', 'a3']);
  });

  it('start nothing while paused, held or drained', async () => {
    const log: string[] = [];
    const lanes = new Lanes({ concurrency: 8, reserved: reservedBy(8) }, unexpected);
    lanes.pause(['NORMAL']);
    lanes.add('NORMAL', 'a', new ManualWork('a', log));
    const high = new ManualWork('high', log);
    lanes.add('HIGH', 'b', high);
    assert.deepEqual(log, ['high']);
    lanes.resume(['NORMAL']);
    assert.deepEqual(log, ['high', 'a']);
    const held = lanes.hold('HIGH');
    lanes.add('HIGH', 'c', new ManualWork('c', log));
    await high.end();
    await held;
    assert.deepEqual(log, ['high', 'a', 'high done']);
    lanes.release('HIGH');
    assert.equal(log.at(-1), 'c');
    void lanes.drain();
    lanes.add('HIGH', 'd', new ManualWork('d', log));
    assert.equal(log.at(-1), 'c');
  });
});

describe('a window', () => {
  it('moves over what is done without a gap, in whatever order it is done', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 50 }),
        fc.infiniteStream(fc.nat()),
        (steps, choices) => {
          const window = new Window(10n);
          let after = 10n;
          const open = steps.map((step) => {
            after += BigInt(step);
            return { after, done: window.add(after), isDone: false };
          });
          for (const choice of choices) {
            const left = open.filter(({ isDone }) => !isDone);
            if (left.length === 0) break;
            const one = left[choice % left.length]!;
            one.isDone = true;
            one.done();
            const first = open.findIndex(({ isDone }) => !isDone);
            assert.equal(window.next, first === 0 ? 10n : open.at(first === -1 ? -1 : first - 1)!.after);
            assert.equal(window.size, first === -1 ? 0 : open.length - first);
          }
        },
      ),
    );
  });
});
