import assert from 'node:assert/strict';
import { test } from 'node:test';
import kafkajs from 'kafkajs';
import { createLog } from '../../process/log.ts';
import { liveBrokers } from '../../local/broker.ts';
import { startStack } from '../../local/stack.ts';
import { kafkaClient } from '../../kafka/client.ts';
import { separateStack } from './support.ts';

test('three brokers replicate records of 16 MiB and continue when one is killed', async (t) => {
  const { directory, env } = await separateStack(t, { brokers: 3 });
  const stack = await startStack({ directory, env, brokers: 3, ports: 'free', fresh: true });
  const addresses = stack.env['KAFKA_BOOTSTRAP_SERVERS']!.split(',');
  const ports = addresses.map((address) => Number(address.split(':')[1]));
  assert.equal(stack.env['TOPIC_REPLICATION_FACTOR'], '3');
  for (const port of ports) assert.deepEqual((await liveBrokers(port)).sort(), [1, 2, 3]);

  // The controller takes a broker for dead when it has been silent for 9 s; the client must outlast that.
  const retry = { initialRetryTime: 100, maxRetryTime: 250, retries: 120 };
  const client = kafkaClient(
    { brokers: addresses },
    { clientId: 'test', retry, log: createLog({ name: 'test', level: 'silent' }) },
  );
  const admin = client.admin();
  const producer = client.producer();
  await Promise.all([admin.connect(), producer.connect()]);
  try {
    // Left to the brokers' defaults: replication 3, min.insync.replicas 2.
    const configEntries = [{ name: 'max.message.bytes', value: String(16 * 1024 * 1024) }];
    await admin.createTopics({
      topics: [{ topic: 'big', numPartitions: 3, configEntries }],
      waitForLeaders: true,
    });
    const { topics } = await admin.fetchTopicMetadata({ topics: ['big'] });
    assert.ok(topics[0]!.partitions.every(({ replicas }) => replicas.length === 3));
    const { resources } = await admin.describeConfigs({
      resources: [
        { type: kafkajs.ConfigResourceTypes.TOPIC, name: 'big', configNames: ['min.insync.replicas'] },
      ],
      includeSynonyms: false,
    });
    assert.equal(resources[0]!.configEntries[0]!.configValue, '2');
    const big = Buffer.alloc(16 * 1024 * 1024 - 4096, 'x');
    await producer.send({ topic: 'big', acks: -1, messages: [{ partition: 0, value: big }] });

    const leader = topics[0]!.partitions.find(({ partitionId }) => partitionId === 0)!.leader;
    const broker = stack.kafka.brokers[leader - 1]!;
    await broker.stop('SIGKILL');
    await producer.send({ topic: 'big', acks: -1, messages: [{ partition: 0, value: 'after' }] });
    assert.equal((await admin.fetchTopicOffsets('big')).find(({ partition }) => partition === 0)!.high, '2');
    await broker.start();
    assert.deepEqual((await liveBrokers(ports[leader - 1]!)).sort(), [1, 2, 3]);
  } finally {
    await Promise.allSettled([admin.disconnect(), producer.disconnect()]);
  }
  await stack.stop();
  for (const port of ports) await assert.rejects(liveBrokers(port));
});
