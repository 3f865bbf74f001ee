import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KafkaConnection } from '../../kafka/client.ts';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';
import { capturedLog } from '../consumers/postgres/log.ts';
import { collectingReader, type CollectingReader } from './collecting-reader.ts';

/** Kafka's numbers of the requests that commit offsets, and that fetch. */
const offsetCommit = 8;
const fetchKey = 1;

test(
  'an offset whose commit is lost is committed all the same, though nothing more is written',
  { timeout: 60_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [topic = ''] = await cluster.createTopics(['read'], { partitions: 1 });
    const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
    cluster.after(() => proxy.close());
    const groupId = `${cluster.prefix}reader`;
    const handled: string[] = [];
    const connection = { brokers: [proxy.address] };
    const { reader } = await collectingReader(cluster, { topic, partitions: 1, handled, connection });
    await cluster.append([{ topic, value: Buffer.from('one') }]);
    await cluster.drained([topic], groupId);
    const lost = proxy.breaks({ type: 'cut', apiKey: offsetCommit });
    await cluster.append([{ topic, value: Buffer.from('two') }]);
    await lost;
    await cluster.drained([topic], groupId, 10_000);
    await until('no partition that waits', () => reader.stalls(0).length === 0 || undefined, 5_000);
    assert.deepEqual(new Set(handled), new Set(['one', 'two']));
  },
);

test(
  'a reader goes on where the log begins when retention has passed its position, and says so',
  { timeout: 60_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [topic = ''] = await cluster.createTopics(['read'], { partitions: 1 });
    const groupId = `${cluster.prefix}reader`;
    const append = (from: number, to: number): Promise<void> =>
      cluster.append(
        Array.from({ length: to - from }, (_, at) => ({ topic, value: Buffer.from(`m${from + at}`) })),
      );
    const handled: string[] = [];
    const { log, lines } = capturedLog();
    const start = (connection?: KafkaConnection): Promise<CollectingReader> =>
      collectingReader(cluster, { topic, partitions: 1, handled, log, ...(connection && { connection }) });
    await append(0, 5);
    const first = await start();
    await cluster.drained([topic], groupId);
    await first.stop();
    await append(5, 20);
    await cluster.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '12' }] });

    const second = await start();
    await cluster.drained([topic], groupId);
    assert.deepEqual(
      handled,
      [0, 1, 2, 3, 4, 12, 13, 14, 15, 16, 17, 18, 19].map((at) => `m${at}`),
    );
    const gone = lines.filter((line) => line.includes('records were deleted before they were read'));
    assert.equal(gone.length, 1);
    assert.match(gone[0] ?? '', /"position":"5","logStart":"12"/);
    await until('no stall', () => second.reader.stalls(0).length === 0 || undefined);

    // Nothing is left: a position behind the beginning of an empty log is no standstill.
    await second.stop();
    await append(20, 25);
    await cluster.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '25' }] });
    const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
    cluster.after(() => proxy.close());
    const third = await start({ brokers: [proxy.address] });
    await until('the reset', () =>
      lines.filter((line) => line.includes('records were deleted before they were read')).length === 2
        ? true
        : undefined,
    );
    const asked = proxy.requests(fetchKey);
    await until('an answer to a fetch behind it', () => proxy.requests(fetchKey) > asked + 1 || undefined);
    assert.deepEqual(third.reader.stalls(0), []);

    // Also while it reads: a topic that was created anew begins before the position.
    await cluster.admin.deleteTopics({ topics: [topic] });
    await cluster.createTopics(['read'], { partitions: 1 });
    await append(100, 103);
    await until('the records of the new topic', () => handled.includes('m102') || undefined);
    assert.deepEqual(handled.slice(-3), ['m100', 'm101', 'm102']);
  },
);
