import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { FetchedRecordSet, Fetcher } from 'kafkajs';
import { decodeRecordSet } from '../../kafka/record-batch.ts';
import { brokerClient, newTopic, transactionalProducer } from './broker.ts';

const OPTIONS = { timeout: 60_000 };
const kafka = brokerClient();

async function send(topic: string, partition: number, value: string): Promise<void> {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ partition, value }] });
  await producer.disconnect();
}

async function newFetcher(t: TestContext): Promise<Fetcher> {
  const fetcher = kafka.fetcher();
  t.after(() => fetcher.disconnect());
  await fetcher.connect();
  return fetcher;
}

/** One fetch from these offsets of the partitions, in this order. */
async function fetchFrom(
  fetcher: Fetcher,
  topic: string,
  offsets: readonly (readonly [partition: number, offset: string])[],
  maxBytes = 1_000_000,
): Promise<FetchedRecordSet[]> {
  const [ofTopic] = await fetcher.metadata([topic]);
  const partitions = offsets.map(([partition, fetchOffset]) => ({ partition, fetchOffset, maxBytes }));
  const [answer] = await fetcher.fetch({
    nodeId: String(ofTopic?.partitions[0]?.leader),
    isolationLevel: 1,
    maxWaitTime: 100,
    minBytes: 1,
    maxBytes,
    topics: [{ topic, partitions }],
  });
  return answer?.partitions ?? [];
}

function valuesOf(topic: string, { partition, recordSet, abortedTransactions }: FetchedRecordSet): string[] {
  const bytes = recordSet ?? Buffer.alloc(0);
  const { records } = decodeRecordSet({ topic, partition, fetchOffset: 0n, bytes, abortedTransactions });
  return records.map(({ value }) => String(value));
}

test("a partition's error does not hide the records of the others", OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 3);
  for (const partition of [0, 1, 2]) await send(topic, partition, `value ${partition}`);
  const fetcher = await newFetcher(t);
  const answers = await fetchFrom(fetcher, topic, [
    [0, '0'],
    [1, '99'],
    [2, '0'],
  ]);
  const told = answers.map((answer) => [answer.partition, answer.error?.type, valuesOf(topic, answer)] as const);
  assert.deepEqual(
    told.sort(([a], [b]) => a - b),
    [
      [0, undefined, ['value 0']],
      [1, 'OFFSET_OUT_OF_RANGE', []],
      [2, undefined, ['value 2']],
    ],
  );
});

test('the partition that is named first is served first', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 2);
  for (const partition of [0, 1]) await send(topic, partition, 'x'.repeat(1_000));
  const fetcher = await newFetcher(t);
  for (const order of [
    [0, 1],
    [1, 0],
  ]) {
    const offsets = order.map((partition) => [partition, '0'] as const);
    const served = (await fetchFrom(fetcher, topic, offsets, 1_000)).filter(({ recordSet }) => recordSet?.length);
    assert.deepEqual(
      served.map(({ partition }) => partition),
      order.slice(0, 1),
    );
  }
});

test('the answer tells both ends of the log and the aborted transactions, and brings the batches as they are', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 1);
  const aborted = await (await transactionalProducer(t, brokerClient())).transaction();
  await aborted.send({ topic, messages: [{ value: 'aborted' }] });
  const open = await (await transactionalProducer(t, brokerClient())).transaction();
  await open.send({ topic, messages: [{ value: 'open' }] });
  await send(topic, 0, 'behind it');
  const fetcher = await newFetcher(t);
  const [before] = await fetchFrom(fetcher, topic, [[0, '0']]);
  assert.deepEqual([before?.highWatermark, before?.lastStableOffset, before?.logStartOffset], [3n, 0n, 0n]);
  await aborted.abort();
  await open.commit();
  let answer: FetchedRecordSet | undefined;
  do [answer] = await fetchFrom(fetcher, topic, [[0, '0']]);
  while (answer?.lastStableOffset !== 5n);
  assert.deepEqual(
    answer.abortedTransactions.map(({ firstOffset }) => firstOffset),
    [0n],
  );
  assert.deepEqual(valuesOf(topic, answer), ['open', 'behind it']);
  assert.deepEqual(valuesOf(topic, { ...answer, abortedTransactions: [] }), ['aborted', 'open', 'behind it']);
});
