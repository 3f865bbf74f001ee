import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { topicResource } from '../../kafka/client.ts';
import { causes } from '../../process/errors.ts';
import { Cluster, messagesByTopic, type Appended } from '../streams/broker/cluster.ts';
import { Counting } from '../streams/broker/counting.ts';
import { until } from '../streams/until.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);

/** Appends in one transaction, and commits it or aborts it. */
async function transaction(
  cluster: Cluster,
  records: readonly Appended[],
  end: 'commit' | 'abort',
): Promise<void> {
  const producer = cluster.kafka.producer({
    idempotent: true,
    maxInFlightRequests: 1,
    transactionalId: `${cluster.prefix}tail`,
  });
  await producer.connect();
  try {
    const open = await producer.transaction();
    await open.sendBatch({ topicMessages: messagesByTopic(records) });
    await open[end]();
  } finally {
    await producer.disconnect();
  }
}

describe('a restore', { timeout: 180_000 + times * 60_000 }, () => {
  test('of changelogs that end in 1,000 aborted records includes none of them', async (t) => {
    const random = seeded(t, 'restore');
    const application = await Application.create(t);
    const { cluster, applicationId } = application;
    const traffic = application.traffic();
    let worker = application.worker('i0');
    await worker.running();
    for (let round = 0; round < times; round += 1) {
      await application.progress(1_000);
      await worker.stop();
      const aborted: Appended[] = [];
      for (const { name: topic } of changelogSpecs(applicationId)) {
        const entries = await cluster.read([topic]);
        // What would show: the state of others, under keys that are asked for.
        for (let at = 0; at < 1_000; at += 1) {
          // A store that nothing was written to gets what none of them could read.
          const absent = { key: Buffer.of(0), partition: at % application.partitions, value: Buffer.of(0) };
          const { key, partition } = entries[Math.floor(random() * entries.length)] ?? absent;
          const { value } = entries[Math.floor(random() * entries.length)] ?? absent;
          aborted.push({ topic, partition, key, value });
        }
      }
      await transaction(cluster, aborted, 'abort');
      worker = application.worker('i0');
      await worker.running();
    }
    await application.progress(1_000);
    const sent = await traffic.stop();
    await application.audit({ aborted: 3_000 * times, sent });
    await worker.stop();
  });

  test('of changelogs without records, or with nothing but markers and aborted records, finds nothing and ends', async (t) => {
    const counting = await Counting.create(t);
    const { cluster, changelog } = counting;
    const record = { topic: changelog, key: Buffer.from('k'), value: Buffer.from('7') };
    // Partition 0 was never written to; 1 has a marker only; 2 lost all; 3 has aborted records.
    await transaction(
      cluster,
      [1, 2].map((partition) => ({ ...record, partition })),
      'commit',
    );
    // A topic that is only compacted does not allow deletion of records.
    const policy = (value: string) =>
      cluster.admin.alterConfigs({
        validateOnly: false,
        resources: [
          { type: topicResource, name: changelog, configEntries: [{ name: 'cleanup.policy', value }] },
        ],
      });
    await policy('compact,delete');
    // The controller answers before the broker applies the policy; until then the broker refuses each partition.
    await until('the deletion of the records', async () => {
      try {
        await cluster.admin.deleteTopicRecords({
          topic: changelog,
          partitions: [
            { partition: 1, offset: '1' },
            { partition: 2, offset: '2' },
          ],
        });
        return true;
      } catch (error) {
        if (causes(error).some(({ name }) => name === 'KafkaJSDeleteTopicRecordsError')) return undefined;
        throw error;
      }
    });
    await policy('compact');
    await transaction(cluster, Array<Appended>(100).fill({ ...record, partition: 3 }), 'abort');
    // The end of a transaction is answered before its markers are written.
    await until('the marker of the aborted records', async () => {
      const bounds = await cluster.admin.fetchTopicOffsets(changelog, { isolationLevel: 0 });
      const ranges = bounds
        .sort((a, b) => a.partition - b.partition)
        .map(({ low, high }) => `${low}-${high}`);
      return isDeepStrictEqual(ranges, ['0-0', '1-2', '2-2', '0-101']) ? ranges : undefined;
    });
    const { entries } = await counting.start();
    for (const partition of [0, 1, 2, 3]) await counting.append(['a'], partition);
    await counting.drained();
    for (const partition of [0, 1, 2, 3]) assert.deepEqual(await counting.counted(partition), ['a 1']);
    const restored = entries.filter(({ message }) => message === 'task restored');
    assert.deepEqual(
      restored.map(({ fields }) => (fields as { records: number }).records),
      [0, 0, 0, 0],
    );
  });

  test('delays only its own task', async (t) => {
    const counting = await Counting.create(t);
    const { cluster, changelog, from } = counting;
    const first = await counting.start();
    for (const partition of [0, 1, 2, 3]) await counting.append(['a'], partition);
    await counting.drained();
    await first.streams.close();
    // Somebody's open transaction keeps the end of one changelog from its readers until it ends.
    const producer = cluster.kafka.producer({
      transactionalId: `${cluster.prefix}open`,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    cluster.after(() => producer.disconnect());
    await producer.connect();
    const open = await producer.transaction();
    const messages = [{ partition: 0, key: 'other', value: '1', timestamp: String(Date.now()) }];
    await open.send({ topic: changelog, messages });

    for (const partition of [0, 1, 2, 3]) await counting.append(['b'], partition);
    const { entries, streams } = await counting.start();
    const restored = (): { task: string; records: number }[] =>
      entries.filter(({ message }) => message === 'task restored').map(({ fields }) => fields as never);
    await until('the other tasks to have gone on', async () => {
      const behind = await cluster.lag([from]);
      return behind.join() === `${from}-0 1/2` || undefined;
    });
    assert.deepEqual(
      restored()
        .map(({ task }) => task)
        .sort(),
      ['0_1', '0_2', '0_3'],
    );
    assert.equal(streams.state, 'REBALANCING');
    await open.commit();
    await counting.drained();
    for (const partition of [0, 1, 2, 3]) assert.deepEqual(await counting.counted(partition), ['a 1', 'b 2']);
    const { task, records } = restored().at(-1)!;
    assert.deepEqual({ task, records }, { task: '0_0', records: 2 });
  });
});
