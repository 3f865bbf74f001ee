/** Issue 15, case 9: after a step back of the wall clock no heartbeat was sent until it had caught up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster } from '../streams/broker/cluster.ts';
import { assertOnceEach, traced } from '../streams/broker/traced.ts';

test('case 9: an instance whose wall clock steps back an hour keeps its membership, and goes on', async (t) => {
  const cluster = await Cluster.open(t);
  const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
  const append = (first: number, count: number): Promise<void> =>
    cluster.append(
      Array.from({ length: count }, (_, at) => ({
        topic: from,
        partition: at % 4,
        value: Buffer.from(`m${first + at}`),
      })),
    );
  // The shortest session that brokers allow by default.
  const { streams, entries } = await cluster.start(traced(from, to), { sessionTimeoutMs: 6_000 });
  await append(0, 20);
  await cluster.drained([from]);
  const now = Date.now.bind(Date);
  t.mock.method(Date, 'now', () => now() - 3_600_000);
  await append(20, 20);
  await cluster.drained([from]);
  // Without heartbeats the session would end meanwhile.
  await sleep(8_000);
  await append(40, 20);
  await cluster.drained([from]);
  assert.deepEqual(streams.stalls(5_000), []);
  await streams.close();
  assert.equal(entries.filter(({ message }) => message === 'tasks assigned').length, 1);
  assertOnceEach(await cluster.read([to]), 60);
});
