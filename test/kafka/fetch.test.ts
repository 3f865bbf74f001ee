/** What a fetcher brings of the logs of a real broker; test/poison holds its damaged batches, test/faults its outages. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import type { Transaction } from '../../kafka/client.ts';
import { Fetcher, type Fetched, type FetchPosition } from '../../kafka/fetch.ts';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { silentLog } from '../streams/log.ts';
import { soon, until } from '../streams/until.ts';

const fetchKey = 1;

/** A fetcher of one partition that is asked for what the test wants, until `isDone`. */
async function fetchUntil(
  { connection }: Pick<Cluster, 'connection'>,
  from: FetchPosition,
  isDone: (fetched: Fetched) => boolean,
  partitionMaxBytes = 1_000_000,
): Promise<Fetched[]> {
  const answers: Fetched[] = [];
  let position = from;
  let isRead = false;
  let fetcher: Fetcher | undefined;
  try {
    const read = new Promise<void>((resolve, reject) => {
      fetcher = new Fetcher(
        connection,
        { clientId: 'fetch-test', log: silentLog, maxWaitMs: 50, maxBytes: 1_000_000, partitionMaxBytes },
        {
          positions: () => ({ positions: isRead ? [] : [position] }),
          onFetched(fetched) {
            if (isRead) return;
            if (fetched.nextOffset > position.offset) answers.push(fetched);
            position = { ...position, offset: fetched.nextOffset };
            isRead = isDone(fetched);
            if (isRead) resolve();
          },
          onOutOfRange: () => reject(new Error('OFFSET_OUT_OF_RANGE')),
          onError: reject,
        },
      );
      fetcher.wake();
    });
    await soon(`the records of ${from.topic}`, read);
  } finally {
    await fetcher?.close(5_000);
  }
  return answers;
}

/** Reads partition 0 from an offset to the end `to`. */
function readTo(
  cluster: Pick<Cluster, 'connection'>,
  topic: string,
  to: bigint,
  { offset = 0n, maxBytes = 1_000_000 } = {},
): Promise<Fetched[]> {
  const from = { topic, partition: 0, offset };
  return fetchUntil(cluster, from, ({ nextOffset }) => nextOffset >= to, maxBytes);
}

const offsetsOf = ({ records }: Fetched): number[] => records.map(({ offset }) => Number(offset));
const valuesOf = (answers: readonly Fetched[]): string[] =>
  answers.flatMap(({ records }) => records.map(({ value }) => String(value)));
const numbered = (topic: string, count: number, name = 'value') =>
  Array.from({ length: count }, (_, i) => ({ topic, value: Buffer.from(`${name} ${i}`) }));
const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

async function begin(cluster: Cluster, name: string): Promise<() => Promise<Transaction>> {
  const producer = cluster.kafka.producer({
    transactionalId: `${cluster.prefix}${name}`,
    idempotent: true,
    maxInFlightRequests: 1,
  });
  await producer.connect();
  cluster.after(() => producer.disconnect());
  return () => producer.transaction();
}

async function open(t: TestContext, config: Readonly<Record<string, string>> = {}) {
  const cluster = await Cluster.open(t);
  const [topic = ''] = await cluster.createTopics(['log'], { partitions: 1, config });
  return { cluster, topic };
}

describe('a fetcher', { timeout: 120_000 }, () => {
  test('goes on behind an answer that ends within a batch without a gap and without a repetition', async (t) => {
    const { cluster, topic } = await open(t);
    for (let batch = 0; batch < 5; batch += 1) await cluster.append(numbered(topic, 20, `batch ${batch}`));
    // A batch has about 600 bytes: two and a part of the third.
    const answers = await readTo(cluster, topic, 100n, { maxBytes: 1_500 });
    assert.ok(answers.length > 1);
    assert.deepEqual(answers.flatMap(offsetsOf), range(100));
  });

  test('gets a batch that is larger than its limit whole', async (t) => {
    const { cluster, topic } = await open(t);
    await cluster.append(numbered(topic, 500));
    await cluster.append(numbered(topic, 1));
    const answers = await readTo(cluster, topic, 501n, { maxBytes: 10 });
    assert.deepEqual(
      answers.map(({ records, nextOffset }) => [records.length, nextOffset]),
      [
        [500, 500n],
        [1, 501n],
      ],
    );
  });

  test('passes over aborted records and markers, wherever it begins, and goes no further than an open transaction', async (t) => {
    const { cluster, topic } = await open(t);
    const [aborting, alsoAborting, committing] = await Promise.all([
      begin(cluster, 'a'),
      begin(cluster, 'b'),
      begin(cluster, 'c'),
    ]);
    const [first, second, third] = [await aborting(), await alsoAborting(), await committing()];
    const send = async (transaction: Transaction, value: string): Promise<void> => {
      await transaction.send({ topic, messages: [{ value }] });
    };
    await send(first, 'aborted 0');
    await send(second, 'aborted 1');
    await send(second, 'aborted 2');
    await send(first, 'aborted 3');
    await send(third, 'committed 4');
    await first.abort();
    await second.abort();
    // The markers of both, 5 and 6.
    await until('the markers', async () => {
      const [end] = await cluster.admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
      return end?.high === '7' || undefined;
    });
    const [before] = await readTo(cluster, topic, 4n);
    const { nextOffset, lastStableOffset, highWatermark } = before!;
    assert.deepEqual([nextOffset, lastStableOffset, highWatermark], [4n, 4n, 7n]);
    assert.deepEqual(before!.records, []);
    await third.commit();
    // From 2 on, both aborted transactions had begun before.
    for (const offset of [0n, 2n, 4n]) {
      const answers = await readTo(cluster, topic, 8n, { offset });
      assert.deepEqual(valuesOf(answers), ['committed 4']);
      assert.equal(answers.at(-1)?.nextOffset, 8n);
    }
    assert.deepEqual(valuesOf(await readTo(cluster, topic, 8n, { maxBytes: 1 })), ['committed 4']);
  });

  test('reads a log to its end that ends in 1,000 aborted records', async (t) => {
    const { cluster, topic } = await open(t);
    await cluster.append(numbered(topic, 1));
    const transaction = await (await begin(cluster, 'a'))();
    const messages = numbered(topic, 100).map(({ value }) => ({ value }));
    for (let batch = 0; batch < 10; batch += 1) await transaction.send({ topic, messages });
    await transaction.abort();
    for (const maxBytes of [1, 5_000, 1_000_000]) {
      const answers = await readTo(cluster, topic, 1_002n, { maxBytes });
      assert.deepEqual(answers.flatMap(offsetsOf), [0]);
      assert.equal(answers.at(-1)?.nextOffset, 1_002n);
    }
  });

  test('reads a log to its end that holds only markers', async (t) => {
    const { cluster, topic } = await open(t);
    const producer = await begin(cluster, 'a');
    for (let times = 0; times < 3; times += 1) {
      const transaction = await producer();
      const messages = [{ value: Buffer.alloc(2_000_000) }];
      await assert.rejects(transaction.send({ topic, messages }), { type: 'MESSAGE_TOO_LARGE' });
      await transaction.abort();
    }
    const answers = await readTo(cluster, topic, 3n);
    assert.deepEqual([answers.flatMap(offsetsOf), answers.at(-1)?.nextOffset], [[], 3n]);
  });

  test('reads a compacted log to its end, across batches that lost their last records or all of them', async (t) => {
    const { cluster, topic } = await open(t, {
      'cleanup.policy': 'compact',
      'min.cleanable.dirty.ratio': '0.001',
      'segment.ms': '100',
    });
    // A segment is rolled by the timestamps of its records: the last one only is never compacted.
    let timestamp = Date.now() - 60_000;
    const write = async (keys: string): Promise<void> => {
      timestamp += 10_000;
      await cluster.append(
        keys.split('').map((key) => ({ topic, key: Buffer.from(key), value: Buffer.from(key), timestamp })),
      );
    };
    await write('abcde'); // 0 to 4: a and c stay
    await write('fgh'); // 5 to 7: only the empty batch stays, for the sequence of its producer
    await write('bij'); // 8 to 10: b stays
    await write('defghij'); // 11 to 17
    await write('k'); // 18, the open segment
    const remaining = [0, 2, 8, 11, 12, 13, 14, 15, 16, 17, 18];
    const answers = await until(
      'the compaction',
      async () => {
        const now = await readTo(cluster, topic, 19n, { maxBytes: 1 });
        return now.flatMap(offsetsOf).length === remaining.length ? now : undefined;
      },
      60_000,
    );
    assert.deepEqual(
      answers.map((answer) => [offsetsOf(answer), answer.nextOffset]),
      [
        [[0, 2], 5n],
        [[], 8n],
        [[8], 11n],
        [[11, 12, 13, 14, 15, 16, 17], 18n],
        [[18], 19n],
      ],
    );
    assert.deepEqual((await readTo(cluster, topic, 19n)).flatMap(offsetsOf), remaining);
    // From within a gap: behind the last record of a batch, before its end.
    const [within] = await readTo(cluster, topic, 5n, { offset: 3n, maxBytes: 1 });
    assert.deepEqual([within?.records, within?.nextOffset], [[], 5n]);
  });

  test('is told of an offset before the start of the log or behind its end', async (t) => {
    const { cluster, topic } = await open(t);
    await cluster.append(numbered(topic, 5));
    await cluster.admin.fetchTopicOffsets(topic);
    await cluster.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] });
    for (const offset of [2n, 6n])
      await assert.rejects(readTo(cluster, topic, 9n, { offset }), { message: 'OFFSET_OUT_OF_RANGE' });
    assert.deepEqual((await readTo(cluster, topic, 5n, { offset: 3n })).flatMap(offsetsOf), [3, 4]);
  });

  test('waits for a topic, and for a partition, that is made while it asks', async (t) => {
    const { cluster, topic } = await open(t);
    const later = `${cluster.prefix}later`;
    const isThere = (): boolean => true;
    const waiting = [
      fetchUntil(cluster, { topic, partition: 1, offset: 0n }, isThere),
      fetchUntil(cluster, { topic: later, partition: 0, offset: 0n }, isThere),
    ];
    await cluster.admin.createTopics({
      topics: [{ topic: later, numPartitions: 1, replicationFactor: 1 }],
      waitForLeaders: false,
    });
    await cluster.admin.createPartitions({ topicPartitions: [{ topic, count: 2 }] });
    assert.deepEqual(await Promise.all(waiting), [[], []]);
  });

  for (const fault of ['cut', 'swallow'] as const) {
    test(`repeats a fetch whose ${fault === 'cut' ? 'request' : 'answer'} is lost with its connection`, async (t) => {
      const { cluster, topic } = await open(t);
      await cluster.append(numbered(topic, 2));
      const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
      cluster.after(() => proxy.close());
      const broken = proxy.breaks({ type: fault, apiKey: fetchKey });
      const answers = await readTo({ connection: { brokers: [proxy.address] } }, topic, 2n);
      await soon('the fault', broken);
      assert.deepEqual(valuesOf(answers), ['value 0', 'value 1']);
    });
  }
});
