import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { InputRecord } from '../../streams/index.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { serdes, StreamsBuilder } from '../../streams/index.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import type { Fetched } from '../../kafka/fetch.ts';
import { Task } from '../../streams/task.ts';
import { TaskSet } from '../../streams/task-set.ts';

const record = (topic: string, offset: bigint): InputRecord => ({
  topic,
  partition: 2,
  offset,
  timestamp: 0,
  key: null,
  value: Buffer.from(`${topic}@${offset}`),
  headers: {},
});

/** An answer of `topic` that covers [from, to); the records of `without` are markers or were aborted. */
function batch(
  topic: string,
  from: number,
  to: number,
  options: { fetched?: number; highWatermark?: number; without?: readonly number[] } = {},
): Fetched {
  const offsets = Array.from({ length: to - from }, (_, at) => from + at);
  return {
    topic,
    partition: 2,
    fetchOffset: BigInt(options.fetched ?? from),
    nextOffset: BigInt(to),
    highWatermark: BigInt(options.highWatermark ?? to),
    lastStableOffset: BigInt(options.highWatermark ?? to),
    records: offsets
      .filter((offset) => options.without?.includes(offset) !== true)
      .map((offset) => record(topic, BigInt(offset))),
  };
}

/** A task that counts records per value in a store. */
function taskAt(positions: Readonly<Record<string, number>>): Task {
  const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
  builder
    .stream('in', Object.keys(positions), { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'count',
      (value, _, { counts }) => {
        counts.put(value, String(Number(counts.get(value) ?? 0) + 1));
        return [value];
      },
      { stores: ['counts'] },
    )
    .to('out', 'out', { value: serdes.utf8 });
  const processor = new RecordProcessor(builder.build(), 2, {
    applicationId: 'app',
    handlers: deadLetterAlways,
    deadLetterTopic: undefined,
  });
  const task = new Task(2, Object.keys(positions), processor);
  for (const [topic, position] of Object.entries(positions)) {
    task.seek(topic, BigInt(position), position === 0 ? undefined : BigInt(position));
  }
  return task;
}

/** Takes everything, `limit` records at a time. */
function drain(task: Task, limit = Infinity): string[][] {
  const taken: string[][] = [];
  for (let records = task.take(limit); records !== undefined; records = task.take(limit))
    taken.push(records.map(({ topic, offset }) => `${topic}@${offset}`));
  return taken;
}

describe('a task accepts', () => {
  test('a batch that continues at its position', () => {
    const task = taskAt({ a: 5 });
    assert.equal(task.accept(batch('a', 5, 7)), true);
    assert.equal(task.accept(batch('a', 7, 8)), true);
    assert.equal(task.nextOffset('a'), 8n);
    assert.deepEqual(drain(task), [['a@5', 'a@6'], ['a@7']]);
  });

  test('a batch of nothing but markers: its position moves without a record', () => {
    const task = taskAt({ a: 5 });
    assert.equal(task.accept(batch('a', 5, 8, { without: [5, 6, 7] })), true);
    assert.deepEqual(drain(task), [[]]);
    assert.deepEqual(task.uncommitted(), [{ topic: 'a', partition: 2, offset: 8n }]);
  });

  test('the position behind the markers that end a batch', () => {
    const task = taskAt({ a: 5 });
    task.accept(batch('a', 5, 9, { without: [7, 8] }));
    assert.deepEqual(drain(task), [['a@5', 'a@6']]);
    assert.deepEqual(task.uncommitted(), [{ topic: 'a', partition: 2, offset: 9n }]);
  });
});

describe('a task does not accept', () => {
  test('an answer to a request from before a seek, from wherever it is', () => {
    for (const [from, to] of [
      [3, 5],
      [3, 7],
      [6, 8],
    ] as const) {
      const task = taskAt({ a: 5 });
      assert.equal(task.accept(batch('a', from, to, { highWatermark: 9 })), false);
      assert.equal(task.hasWork(), false);
      assert.equal(task.nextOffset('a'), 5n);
    }
  });

  test('the same answer twice', () => {
    const task = taskAt({ a: 5 });
    task.accept(batch('a', 5, 7, { highWatermark: 9 }));
    assert.equal(task.accept(batch('a', 5, 7, { highWatermark: 9 })), false);
    assert.deepEqual(drain(task), [['a@5', 'a@6']]);
  });

  test('a topic that it does not read', () => {
    assert.throws(() => taskAt({ a: 0 }).accept(batch('b', 0, 1)), { code: 'INVARIANT' });
  });
});

describe('a task gives out', () => {
  test('parts of a batch up to the limit, its topics in turn', () => {
    const task = taskAt({ a: 0, b: 0, c: 0 });
    task.accept(batch('a', 0, 5));
    task.accept(batch('a', 5, 6));
    task.accept(batch('b', 0, 1));
    assert.deepEqual(drain(task, 2), [['a@0', 'a@1'], ['b@0'], ['a@2', 'a@3'], ['a@4'], ['a@5']]);
    // c was served least recently.
    task.accept(batch('a', 6, 7));
    task.accept(batch('c', 0, 1));
    assert.deepEqual(drain(task), [['c@0'], ['a@6']]);
  });

  test('each record once and in order, however it arrives and is taken', () => {
    const fetches = fc.array(
      fc.record({ from: fc.nat(30), length: fc.integer({ min: 1, max: 8 }), take: fc.nat(4) }),
      { maxLength: 40 },
    );
    fc.assert(
      fc.property(fetches, (steps) => {
        const task = taskAt({ a: 0 });
        const seen: bigint[] = [];
        const take = (limit: number): void => {
          if (limit === 0) return;
          for (const { offset } of task.take(limit) ?? []) seen.push(offset);
        };
        for (const { from, length, take: limit } of steps) {
          task.accept(batch('a', from, from + length, { highWatermark: 100 }));
          take(limit);
        }
        while (task.hasWork()) take(3);
        assert.deepEqual(
          seen,
          seen.map((_, at) => BigInt(at)),
        );
        assert.equal(task.nextOffset('a'), BigInt(seen.length));
        assert.equal([...task.wanted()].length, 1);
      }),
    );
  });
});

describe('a task wants', () => {
  test('every partition whose queue has room, from behind what is queued', () => {
    const task = taskAt({ a: 5, b: 7 });
    const wanted = (): string[] => [...task.wanted()].map(({ topic, offset }) => `${topic}@${offset}`);
    task.accept(batch('b', 7, 9));
    assert.deepEqual(wanted(), ['a@5', 'b@9']);
    task.accept(batch('a', 5, 1_005));
    assert.deepEqual(wanted(), ['b@9']);
    task.take(999);
    assert.deepEqual(wanted(), ['b@9']);
    drain(task);
    assert.deepEqual(wanted().sort(), ['a@1005', 'b@9']);
  });
});

describe('the positions of a task', () => {
  test('are uncommitted from processing until the fold-in', () => {
    const task = taskAt({ a: 5, b: 7 });
    assert.deepEqual(task.uncommitted(), []);
    task.accept(batch('a', 5, 9));
    assert.deepEqual(task.uncommitted(), []);
    task.take(2);
    assert.deepEqual(task.uncommitted(), [{ topic: 'a', partition: 2, offset: 7n }]);
    task.foldIn(task.uncommitted());
    assert.deepEqual(task.uncommitted(), []);
    task.take(9);
    assert.deepEqual(task.uncommitted(), [{ topic: 'a', partition: 2, offset: 9n }]);
    assert.deepEqual(
      task
        .positions()
        .map(({ topic, fetched, processed, committed }) => [topic, fetched, processed, committed]),
      [
        ['b', 7n, 7n, 7n],
        ['a', 9n, 9n, 7n],
      ],
    );
  });

  test('inside a batch are those of the next record, so that a marker between two is stepped over', () => {
    const task = taskAt({ a: 0 });
    task.accept(batch('a', 0, 4, { without: [1, 2] }));
    task.take(1);
    assert.equal(task.uncommitted()[0]?.offset, 3n);
  });

  test('a transaction that only writes to stores commits them again, because a zombie is refused by its offsets', () => {
    const task = taskAt({ a: 5, b: 7 });
    assert.deepEqual(task.uncommitted(), []);
    assert.deepEqual(
      task.positionsToCommit().map(({ topic, offset }) => `${topic}@${offset}`),
      ['a@5', 'b@7'],
    );
  });

  test('a seek forgets what is queued and what was processed, of that topic only', () => {
    const task = taskAt({ a: 5, b: 0 });
    task.accept(batch('a', 5, 9));
    task.accept(batch('b', 0, 2));
    task.take(2);
    task.seek('a', 5n, 5n);
    assert.equal(task.isDrained('a'), true);
    assert.equal(task.isDrained('b'), false);
    assert.deepEqual(task.uncommitted(), [{ topic: 'b', partition: 2, offset: 0n }]);
    assert.deepEqual(drain(task), [['b@0', 'b@1']]);
    assert.equal(task.accept(batch('a', 5, 6)), true);
    assert.deepEqual(drain(task), [['a@5']]);
  });
});

describe('after a failed transaction a task', () => {
  /** A task at a@5, b@7 that has processed a@5 and a@6. */
  function attempted(): Task {
    const task = taskAt({ a: 5, b: 7 });
    task.accept(batch('a', 5, 7));
    for (const taken of task.take(Infinity) ?? []) task.processor.process(taken, []);
    return task;
  }
  const entries = (task: Task): number => task.stores[0]!.size;
  const group = (positions: Readonly<Record<string, bigint>>) => (topic: string) => positions[topic];
  const offsets = [{ topic: 'a', partition: 2, offset: 7n }];

  test('drops what it wrote when the committed offsets are unchanged', () => {
    const task = attempted();
    assert.equal(task.settle(offsets, group({ a: 5n, b: 7n })), 'unchanged');
    assert.deepEqual([entries(task), task.isDirty], [0, false]);
  });

  test('folds in what it wrote when the committed offsets are those of the transaction', () => {
    const task = attempted();
    assert.equal(task.settle(offsets, group({ a: 7n, b: 7n })), 'landed');
    assert.deepEqual([entries(task), task.isDirty], [2, false]);
    assert.deepEqual(task.uncommitted(), []);
  });

  for (const [title, positions] of [
    ['somewhere else', { a: 6n, b: 7n }],
    ['further on in another topic', { a: 5n, b: 8n }],
    ['those, and further on in another topic', { a: 7n, b: 8n }],
  ] as const) {
    test(`is lost when the committed offsets are ${title}: another member had it`, () => {
      assert.equal(attempted().settle(offsets, group(positions)), 'lost');
    });
  }

  test('is lost when the group moved and nothing was attempted', () => {
    assert.equal(taskAt({ a: 5, b: 7 }).settle([], group({ a: 6n, b: 7n })), 'lost');
  });
});

test('case 2: nothing is fetched while one answer fills the memory of all queues, and all of it again once that is taken', () => {
  const task = taskAt({ a: 0, b: 0 });
  task.isRestored = true;
  const tasks = new TaskSet();
  tasks.add(task);
  const topics = (): string[] => tasks.wanted().positions.map(({ topic }) => topic);
  assert.deepEqual(topics(), ['a', 'b']);
  const [large] = batch('a', 0, 1).records;
  const value = Buffer.alloc(64 * 1024 * 1024);
  task.accept({ ...batch('a', 0, 1), records: [{ ...large!, value }] });
  assert.deepEqual(tasks.wanted(), { positions: [], isPartial: true });
  tasks.take(1);
  assert.deepEqual(topics().sort(), ['a', 'b']);
});
