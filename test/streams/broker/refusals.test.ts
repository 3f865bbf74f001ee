import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import type { OutputRecord } from '../../../streams/index.ts';
import { TransactionalProducer } from '../../../streams/producer.ts';
import { RefusedError } from '../../../streams/refusals.ts';
import { TopicLimits } from '../../../streams/topic-limits.ts';
import { topicResource } from '../../../kafka/client.ts';
import { silentLog } from '../log.ts';
import { until } from '../until.ts';
import { Cluster } from './cluster.ts';

const dayMs = 86_400_000;

/** A cluster with a topic that takes batches of 2,000 bytes, and producers that know it. */
async function open(t: TestContext) {
  const cluster = await Cluster.open(t);
  const [topic = ''] = await cluster.createTopics(['out'], { config: { 'max.message.bytes': '2000' } });
  const limits = new TopicLimits();
  const producer = async (compression: 'none' | 'snappy' = 'none'): Promise<TransactionalProducer> => {
    await limits.read(cluster.admin, [topic]);
    const options = { transactionalId: `${cluster.prefix}producer`, log: silentLog, limits };
    const opened = await TransactionalProducer.open({ ...cluster.connection, compression }, options);
    cluster.after(() => opened.close(1_000));
    await opened.begin(`${cluster.prefix}group`);
    return opened;
  };
  const record = (bytes: number, changes: Partial<OutputRecord> = {}): OutputRecord => ({
    topic,
    partition: 0,
    timestamp: Date.now(),
    key: null,
    value: Buffer.alloc(bytes, 'x'),
    headers: {},
    ...changes,
  });
  return { cluster, topic, limits, producer, record };
}

async function refusal(sending: Promise<void>): Promise<RefusedError> {
  const error = await sending.then(
    () => assert.fail('nothing was refused'),
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof RefusedError, String(error));
  return error;
}

describe('a producer whose records the broker refuses', { timeout: 60_000 }, () => {
  test('names all of them, whatever the reasons and partitions, and no other', async (t) => {
    const { producer, record } = await open(t);
    const ahead = Date.now() + 2 * dayMs;
    const refused = [
      record(10, { timestamp: ahead }),
      record(5_000),
      record(10, { partition: 1, timestamp: ahead }),
      record(2_000, { partition: 2 }),
      record(3_000),
    ];
    const good = (): OutputRecord => record(10, { partition: 1 });
    const records = [good(), ...refused.flatMap((one) => [record(10), one, record(1_500), good()])];
    const error = await refusal((await producer()).send(records));
    assert.deepEqual(new Set(error.refused.map((one) => one.record)), new Set(refused));
    for (const { record: one, reason } of error.refused)
      assert.equal(reason, one.timestamp === ahead ? 'INVALID_TIMESTAMP' : 'MESSAGE_TOO_LARGE');
    assert.ok(!error.message.includes(String(ahead)));
  });

  test('sends a record alone that compression makes small enough, and refuses nothing', async (t) => {
    const { cluster, topic, producer, record } = await open(t);
    const compressing = await producer('snappy');
    await compressing.send([record(100), record(20_000), record(20_000), record(100)]);
    await compressing.commit();
    const read = await cluster.read([topic]);
    assert.deepEqual(
      read.map(({ value }) => value?.length),
      [100, 20_000, 20_000, 100],
    );
  });

  test('names none of a batch whose topic takes less than it did, and knows more after it', async (t) => {
    const { cluster, topic, limits, producer, record } = await open(t);
    const first = await producer();
    await cluster.admin.alterConfigs({
      validateOnly: false,
      resources: [
        { type: topicResource, name: topic, configEntries: [{ name: 'max.message.bytes', value: '1000' }] },
      ],
    });
    const sent = [record(700), record(700)];
    // The controller answers before the broker applies the limit; until then the batch is taken.
    const error = await until('a refusal', () =>
      first.send(sent).then(
        () => undefined,
        (reason: unknown) => reason,
      ),
    );
    assert.ok(error instanceof RefusedError);
    assert.deepEqual([error.type, error.refused], ['MESSAGE_TOO_LARGE', []]);
    await first.close(1_000);
    const second = await producer();
    assert.equal(limits.of(topic), 1_000);
    await second.send(sent);
    const [large] = (await refusal(second.send([record(10), record(900), record(1_100)]))).refused;
    assert.equal(large?.record.value?.length, 1_100);
  });

  test('finds the record in the end where the limit may not be read', async (t) => {
    const { topic, limits, producer, record } = await open(t);
    const large = record(2_500);
    const records = [...Array.from({ length: 40 }, () => record(200)), large, record(200)];
    const found = await until('its name', async () => {
      const one = await producer();
      // As if it were the default of the broker.
      if (limits.of(topic) === 2_000) limits.lower(topic, 2 * 1_048_588);
      const { refused } = await refusal(one.send(records));
      await one.close(1_000);
      return refused.length > 0 ? refused : undefined;
    });
    assert.deepEqual(found, [{ record: large, reason: 'MESSAGE_TOO_LARGE' }]);
  });
});
