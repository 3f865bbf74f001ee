/** Issue 15, case 12: "a year after 2400". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster } from '../streams/broker/cluster.ts';

test('case 12: records of the years 2001, 2026, 2286, 2401 and 9999 in one batch keep their timestamps', async (t) => {
  const cluster = await Cluster.open(t);
  const config = {
    'message.timestamp.after.max.ms': '9223372036854775807',
    'retention.ms': '-1',
  };
  const [topic = ''] = await cluster.createTopics(['far'], { partitions: 1, config });
  const timestamps = [
    1_795_000_000_000, 253_402_300_799_999, 999_999_999_999, 9_999_999_999_999, 10_000_000_000_000,
    13_601_088_000_123, 1_795_000_000_001,
  ];
  await cluster.append(timestamps.map((timestamp) => ({ topic, value: Buffer.from('v'), timestamp })));
  const producer = cluster.kafka.producer();
  await producer.connect();
  cluster.after(() => producer.disconnect());
  // As numbers too, as our own processes send them.
  await producer.send({
    topic,
    messages: timestamps.map((timestamp) => ({ value: 'v', timestamp: timestamp as unknown as string })),
  });
  const expected = [...timestamps, ...timestamps];
  const records = await cluster.read([topic]);
  assert.deepEqual(
    records.map(({ timestamp }) => timestamp),
    expected,
  );
  // The broker finds the first record that is not older by the latest timestamp of each batch.
  const [at] = await cluster.admin.fetchTopicOffsetsByTimestamp(topic, 253_402_300_799_999);
  assert.equal(at?.offset, '1');
});
