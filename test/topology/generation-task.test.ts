import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { PunctuatorContext } from '../../streams/index.ts';
import { StateStore, type StoreSpec } from '../../streams/store.ts';
import { alertsStore } from '../../topology/alerts.ts';
import { writeState, type GenerationSupport } from '../../topology/generation-state.ts';
import { GenerationTask } from '../../topology/generation-task.ts';
import { revisionsStore } from '../../topology/revisions.ts';
import { Turns } from '../../topology/turns.ts';

const noText = {
  serialize: (text: unknown) => Buffer.from(text as string),
  deserialize: (bytes: Buffer) => bytes,
};

/** A task whose reading never gets an answer, and the clock that it goes by. */
function taskOf(
  t: TestContext,
  turns: Turns,
  { hasTakenOver = false }: { hasTakenOver?: boolean } = {},
): { task: GenerationTask; pass: (ms: number) => void } {
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const stores = [
    { name: 'revisions', ...revisionsStore },
    { name: 'alerts', ...alertsStore },
    { name: 'generation', key: noText, value: noText },
  ].map((spec) => new StateStore(spec as unknown as StoreSpec, spec.name, 0));
  if (hasTakenOver) {
    writeState(stores, 'seed', { done: true, starts: {}, uncertain: 0, unseeded: false });
    writeState(stores, 'takeover', { done: true });
  }
  const never = new Promise<never>(() => undefined);
  const support = {
    turns,
    readAt: now,
    origin: 'live',
    generation: { number: 1, shadow: 'shadow' },
    topics: { raw: {} },
    admin: { fetchTopicOffsets: () => never },
    starts: () => never,
    subscribe: () => () => undefined,
  };
  const context = { partition: 0, stores, wake: () => undefined, fail: assert.ifError };
  const task = new GenerationTask(
    context as unknown as PunctuatorContext,
    support as unknown as GenerationSupport,
  );
  return { task, pass: (ms) => (now += ms) };
}

test('a task that waits until another one is seeded does not stand still, and one that seeds and reads nothing does', async (t) => {
  const turns = new Turns();
  let end = (): void => undefined;
  void turns.inTurn(() => new Promise<void>((resolve) => (end = resolve)));
  const { task, pass } = taskOf(t, turns);
  await setImmediate();
  pass(300_000);
  assert.equal(task.stalledMs, 0);
  end();
  await setImmediate();
  assert.equal(task.stalledMs, 0);
  pass(70_000);
  assert.equal(task.stalledMs, 70_000);
  let isNext = false;
  void turns.inTurn(() => Promise.resolve((isNext = true)));
  await setImmediate();
  assert.equal(isNext, false, 'the seed is in memory until it is written');
  task.close();
  await setImmediate();
  assert.equal(isNext, true, 'a task that is given up holds up nobody');
});

test('a task corrects when the takeovers of others have ended, and stands still only then', async (t) => {
  const turns = new Turns();
  const ends = [turns.beginTakeover(), turns.beginTakeover()];
  const { task, pass } = taskOf(t, turns, { hasTakenOver: true });
  for (const end of ends) {
    await setImmediate();
    pass(300_000);
    assert.equal(task.stalledMs, 0);
    end();
  }
  await setImmediate();
  pass(70_000);
  assert.equal(task.stalledMs, 70_000);
  task.close();
});
