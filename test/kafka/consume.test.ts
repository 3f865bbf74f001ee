import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startReader } from '../../kafka/consume.ts';
import { startService } from '../../process/lifecycle.ts';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';
import { capturedLog } from '../consumers/postgres/log.ts';

/** Kafka's number of the request that commits offsets. */
const offsetCommit = 8;

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
    let stalls: () => number = () => -1;
    const { log } = capturedLog();
    const running = await startService(async (service) => {
      const reader = await startReader(
        { brokers: [proxy.address] },
        {
          groupId,
          topics: [topic],
          partitions: 1,
          concurrency: 1,
          log,
          handle({ records }) {
            handled.push(...records.map(({ value }) => String(value)));
            return Promise.resolve(true);
          },
        },
        service,
      );
      stalls = () => reader.stalls(0).length;
      return {};
    });
    cluster.after(() => running.stop());
    await cluster.append([{ topic, value: Buffer.from('one') }]);
    await cluster.drained([topic], groupId);
    const lost = proxy.breaks({ type: 'cut', apiKey: offsetCommit });
    await cluster.append([{ topic, value: Buffer.from('two') }]);
    await lost;
    await cluster.drained([topic], groupId, 10_000);
    await until('no partition that waits', () => stalls() === 0 || undefined, 5_000);
    assert.deepEqual(new Set(handled), new Set(['one', 'two']));
  },
);
