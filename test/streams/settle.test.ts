/** Issue 15, case 7: a transaction that was refused was taken for committed, because offsets alone were compared. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Join } from '../../streams/assignor.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { serdes, StreamsBuilder } from '../../streams/index.ts';
import { noMetrics } from '../../streams/metrics.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { settle } from '../../streams/settle.ts';
import { Task } from '../../streams/task.ts';

const join = (generationId: number, tasks: readonly number[] = [0]): Join => ({
  membership: { groupId: 'g', memberId: 'm', generationId },
  tasks,
});

/** A task that has written to its store in a transaction over the records up to offset 2. */
function attempted(partition = 0): Task {
  const builder = new StreamsBuilder().addStateStore('values', { key: serdes.utf8, value: serdes.utf8 });
  builder
    .stream('in', 'a', { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'keep',
      (value, _, { values }) => {
        values.put('k', value);
        return [];
      },
      { stores: ['values'] },
    )
    .to('out', 'out', { value: serdes.utf8 });
  const options = { applicationId: 'app', handlers: deadLetterAlways, deadLetterTopic: undefined };
  const task = new Task(partition, ['a'], new RecordProcessor(builder.build(), partition, options));
  task.isRestored = true;
  task.seek('a', 0n, 0n);
  const record = { topic: 'a', partition, timestamp: 0, key: null, value: Buffer.from('v'), headers: {} };
  const bounds = { fetchOffset: 0n, nextOffset: 2n, highWatermark: 2n, lastStableOffset: 2n };
  task.accept({
    topic: 'a',
    partition,
    records: [0n, 1n].map((offset) => ({ ...record, offset })),
    ...bounds,
  });
  for (const taken of task.take(2) ?? []) task.processor.process(taken, []);
  return task;
}

const at = (partition: number, committed: bigint): Parameters<typeof settle>[2][number] => ({
  topic: 'a',
  partition,
  committed,
  position: committed,
  logEnd: committed,
});

/** The fate of a task whose group has committed the very offsets of the failed attempt. */
function fate(attempt: { mayHaveLanded: boolean; generation: number }, generation: number): string {
  const task = attempted();
  const unsettled = {
    join: join(attempt.generation),
    mayHaveLanded: attempt.mayHaveLanded,
    committingOf: () => [{ topic: 'a', partition: 0, offset: 2n }],
  };
  const lost = settle([task], join(generation), [at(0, 2n)], unsettled, noMetrics);
  return lost.length > 0 ? 'lost' : (task.stores[0]?.size ?? 0) > 0 ? 'landed' : 'unchanged';
}

test('case 7: an attempt that was about to end has landed when the group has its offsets', () => {
  assert.equal(fate({ mayHaveLanded: true, generation: 4 }, 4), 'landed');
  assert.equal(fate({ mayHaveLanded: true, generation: 4 }, 5), 'landed');
});

test('case 7: an attempt that was stopped before its end has not: another member has committed the same records', () => {
  assert.equal(fate({ mayHaveLanded: false, generation: 4 }, 5), 'lost');
  assert.equal(fate({ mayHaveLanded: false, generation: 4 }, 6), 'lost');
});

test('case 7: an attempt of a generation before the last has not: another member may have had the task between', () => {
  assert.equal(fate({ mayHaveLanded: true, generation: 4 }, 6), 'lost');
});

test('a transaction of which the group has the offsets of one task only is half committed', () => {
  const tasks = [attempted(0), attempted(1)];
  const unsettled = {
    join: join(4, [0, 1]),
    mayHaveLanded: true,
    committingOf: ({ partition }: Task) => [{ topic: 'a', partition, offset: 2n }],
  };
  assert.throws(() => settle(tasks, unsettled.join, [at(0, 2n), at(1, 1n)], unsettled, noMetrics), {
    code: 'INVARIANT',
  });
});

test('work that moved no offset may have been committed or not, so that its task is restored', () => {
  const fateOf = (mayHaveLanded: boolean): number => {
    const task = attempted();
    task.seek('a', 2n, 2n);
    task.punctuator = {
      limit: () => undefined,
      isDue: true,
      isOver: false,
      stalledMs: 0,
      punctuate: ({ stores }) => stores[0]?.write(Buffer.from('k'), Buffer.from('w'), 0),
      settled: () => undefined,
      close: () => undefined,
    };
    task.punctuate([]);
    const unsettled = {
      join: join(4),
      mayHaveLanded,
      committingOf: () => [{ topic: 'a', partition: 0, offset: 2n }],
    };
    return settle([task], join(4), [at(0, 2n)], unsettled, noMetrics).length;
  };
  assert.equal(fateOf(true), 1, 'its end was asked for');
  assert.equal(fateOf(false), 0, 'it cannot have been committed');
});
