import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Bisection } from '../../streams/bisection.ts';
import type { InputRecord, PartitionOffset } from '../../streams/record.ts';

function record(partition: number, offset: bigint): InputRecord {
  return { topic: 'in', partition, offset, timestamp: 0, key: null, value: null, headers: {} };
}

/** Partitions of a given length, processed under a Bisection, by a broker that refuses some of their records. */
class Run {
  readonly bisection = new Bisection();
  readonly committed: bigint[];
  readonly deadLetters: string[] = [];
  readonly delivered: string[] = [];
  attempts = 0;
  readonly #ends: readonly bigint[];
  readonly #refused: ReadonlySet<string>;

  constructor(lengths: readonly number[], refused: readonly string[]) {
    this.#ends = lengths.map(BigInt);
    this.committed = lengths.map(() => 0n);
    this.#refused = new Set(refused);
  }

  get isDone(): boolean {
    return this.committed.every((offset, partition) => offset === this.#ends[partition]);
  }

  /** One transaction: some records of each partition that may be taken from. */
  attempt(): void {
    this.attempts += 1;
    const at = [...this.committed];
    const taken: InputRecord[] = [];
    for (let took = true; took && taken.length < this.bisection.limit;) {
      took = false;
      for (const [partition, end] of this.#ends.entries()) {
        if (at[partition]! >= end || taken.length >= this.bisection.limit) continue;
        if (!this.bisection.mayTake('in', partition)) continue;
        taken.push(record(partition, at[partition]!));
        at[partition]! += 1n;
        took = true;
      }
    }
    const ends: PartitionOffset[] = at
      .map((offset, partition) => ({ topic: 'in', partition, offset }))
      .filter(({ partition, offset }) => offset !== this.committed[partition]);
    const name = ({ partition, offset }: InputRecord): string => `${partition}@${offset}`;
    const isRefused = taken.some(
      (one) => this.bisection.refusalOf(one) === undefined && this.#refused.has(name(one)),
    );
    if (isRefused) {
      this.bisection.narrow({ records: taken.length, first: taken[0], ends }, 'MESSAGE_TOO_LARGE');
      return;
    }
    for (const one of taken) {
      (this.bisection.refusalOf(one) === undefined ? this.delivered : this.deadLetters).push(name(one));
    }
    for (const { partition, offset } of ends) this.committed[partition] = offset;
    this.bisection.onCommit(ends);
  }
}

describe('the search for a record that the broker refuses', () => {
  test('does nothing while nothing is refused', () => {
    const bisection = new Bisection();
    assert.equal(bisection.limit, Infinity);
    assert.equal(bisection.mayTake('in', 3), true);
    bisection.onCommit([{ topic: 'in', partition: 3, offset: 5n }]);
    bisection.onAssignment([]);
    assert.equal(bisection.limit, Infinity);
  });

  test('halves transactions, of suspects only, until the record is alone in one', () => {
    const bisection = new Bisection();
    const ends = [{ topic: 'in', partition: 1, offset: 8n }];
    bisection.narrow({ records: 8, first: record(1, 0n), ends }, 'INVALID_TIMESTAMP');
    assert.equal(bisection.limit, 4);
    assert.deepEqual([bisection.mayTake('in', 1), bisection.mayTake('in', 2)], [true, false]);
    bisection.narrow({ records: 1, first: record(1, 0n), ends: [] }, 'INVALID_TIMESTAMP');
    assert.equal(bisection.refusalOf(record(1, 0n)), 'INVALID_TIMESTAMP');
    assert.equal(bisection.refusalOf(record(2, 0n)), undefined);
    bisection.onCommit([{ topic: 'in', partition: 1, offset: 1n }]);
    assert.equal(bisection.limit, 2);
    bisection.onCommit([{ topic: 'in', partition: 1, offset: 8n }]);
    assert.equal(bisection.limit, Infinity);
    assert.equal(bisection.refusalOf(record(1, 0n)), undefined);
  });

  test('clears suspects that another member has, or that are committed already', () => {
    const bisection = new Bisection();
    const ends = [
      { topic: 'in', partition: 0, offset: 4n },
      { topic: 'in', partition: 1, offset: 4n },
    ];
    bisection.narrow({ records: 8, first: record(0, 0n), ends }, 'INVALID_TIMESTAMP');
    bisection.onAssignment([
      { topic: 'in', partition: 1, position: 0n },
      { topic: 'in', partition: 2, position: 0n },
    ]);
    assert.deepEqual([bisection.mayTake('in', 1), bisection.mayTake('in', 2)], [true, false]);
    bisection.onAssignment([{ topic: 'in', partition: 1, position: 4n }]);
    assert.equal(bisection.limit, Infinity);
  });

  test('fails when the dead letter itself is refused', () => {
    const bisection = new Bisection();
    const alone = { records: 1, first: record(1, 7n), ends: [{ topic: 'in', partition: 1, offset: 8n }] };
    bisection.narrow(alone, 'MESSAGE_TOO_LARGE');
    assert.throws(() => bisection.narrow(alone, 'MESSAGE_TOO_LARGE'), {
      code: 'HANDLER_FAILED',
      message: /dead letter of in-1 offset 7 as well \(MESSAGE_TOO_LARGE\)/,
    });
  });

  test('finds every refused record and no other, in few transactions, whatever is refused', () => {
    const lengths = fc.array(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 4 });
    const inputs = lengths.chain((counts) => {
      const all = counts.flatMap((count, partition) =>
        Array.from({ length: count }, (_, offset) => `${partition}@${offset}`),
      );
      return fc.tuple(fc.constant(counts), fc.subarray(all));
    });
    fc.assert(
      fc.property(inputs, ([counts, refused]) => {
        const run = new Run(counts, refused);
        const total = counts.reduce((sum, count) => sum + count, 0);
        const most = 2 + total * 2 + refused.length * 20;
        while (!run.isDone && run.attempts <= most) run.attempt();
        assert.ok(run.isDone, `not done after ${run.attempts} transactions`);
        assert.deepEqual(run.deadLetters.sort(), [...refused].sort());
        assert.equal(run.delivered.length, total - refused.length);
      }),
    );
  });
});
