import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Fetcher, type Fetched } from '../../kafka/fetch.ts';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { silentLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';

const limits = { maxWaitMs: 100, maxBytes: 1024 * 1024, partitionMaxBytes: 1024 * 1024 };

/** A fetcher of the first partitions of some topics from their beginning, behind a proxy. */
async function fetching(
  t: TestContext,
  cluster: Cluster,
  topics: readonly string[],
): Promise<{ fetched: Fetched[]; errors: Error[]; proxy: KafkaProxy; fetcher: Fetcher }> {
  const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
  cluster.after(() => proxy.close());
  const positions = new Map(topics.map((topic) => [topic, 0n]));
  const fetched: Fetched[] = [];
  const errors: Error[] = [];
  const fetcher = new Fetcher(
    { brokers: [proxy.address] },
    { clientId: t.name.slice(0, 20), log: silentLog, ...limits },
    {
      positions: () => ({
        positions: [...positions].map(([topic, offset]) => ({ topic, partition: 0, offset })),
      }),
      onFetched(answer) {
        if (answer.fetchOffset !== positions.get(answer.topic)) return;
        positions.set(answer.topic, answer.nextOffset);
        fetched.push(answer);
      },
      onOutOfRange: () => undefined,
      onError: (error) => errors.push(error),
    },
  );
  cluster.after(() => fetcher.close(5_000));
  fetcher.wake();
  return { fetched, errors, proxy, fetcher };
}

const has = (fetched: readonly Fetched[], value: string): true | undefined =>
  fetched.some(({ records }) => records.some((record) => String(record.value) === value)) || undefined;

test(
  'a topic that was deleted does not keep the others from being fetched',
  { timeout: 120_000 },
  async (t) => {
    const cluster = await Cluster.open(t);
    const [kept = '', deleted = ''] = await cluster.createTopics(['kept', 'deleted'], { partitions: 1 });
    const { fetched, errors, proxy, fetcher } = await fetching(t, cluster, [kept, deleted]);
    const append = (topic: string, value: string): Promise<void> =>
      cluster.append([{ topic, value: Buffer.from(value) }]);
    await append(kept, 'one');
    await append(deleted, 'two');
    await until('both', () => has(fetched, 'one') && has(fetched, 'two'));

    await cluster.admin.deleteTopics({ topics: [deleted] });
    await append(kept, 'three');
    await until('the next record', () => has(fetched, 'three'));
    // Whatever was known of leaders is forgotten.
    await proxy.breaks({ type: 'cut' });
    await append(kept, 'four');
    await until('the record after a lost connection', () => has(fetched, 'four'), 10_000);
    // The request that was cut may have been a later one.
    await until('an answer after it', () => fetcher.isReachable || undefined, 10_000);

    await cluster.createTopics(['deleted'], { partitions: 1 });
    await append(deleted, 'five');
    await append(deleted, 'six');
    await until('a record of the topic that was created anew', () => has(fetched, 'six'), 10_000);
    assert.deepEqual(errors, []);
  },
);
