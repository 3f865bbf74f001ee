import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Part } from '../../local/stack.ts';
import type { Admin } from '../../kafka/client.ts';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { stackOf } from './broken-stack.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);
const internalTopics = ['__consumer_offsets', '__transaction_state'];

interface Placed {
  readonly topic: string;
  readonly partition: number;
  readonly leader: number;
  readonly replicas: readonly number[];
}

/** Every partition of `topics`, once all have a leader and their replicas are in sync. */
function inSync(admin: Admin, topics: readonly string[]): Promise<Placed[]> {
  return until(
    'replicas in sync',
    async () => {
      const metadata = await admin.fetchTopicMetadata({ topics: [...topics] }).catch(() => undefined);
      const placed = metadata?.topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionId, leader, replicas, isr }) => ({
          ...{ topic: name, partition: partitionId, leader, replicas },
          isComplete: leader > 0 && isr.length === replicas.length,
        })),
      );
      return placed?.every(({ isComplete }) => isComplete) === true ? placed : undefined;
    },
    90_000,
  );
}

async function reassign(admin: Admin, placed: readonly Omit<Placed, 'leader'>[]): Promise<void> {
  const names = [...new Set(placed.map(({ topic }) => topic))];
  await admin.alterPartitionReassignments({
    topics: names.map((name) => ({
      topic: name,
      partitionAssignment: placed
        .filter(({ topic }) => topic === name)
        .map(({ partition, replicas }) => ({ partition, replicas: [...replicas] })),
    })),
  });
}

/**
 * Has every partition of `topics` led by another broker: its leader loses its replica, and gets it back behind the
 * others. Of Kafka's own topics the leaders are the coordinators.
 * @returns how many partitions moved.
 */
async function moveLeaders(admin: Admin, topics: readonly string[]): Promise<number> {
  const before = await inSync(admin, topics);
  const others = before.map(({ leader, replicas, ...place }) => ({
    ...place,
    leader,
    replicas: replicas.filter((replica) => replica !== leader),
  }));
  await reassign(admin, others);
  const after = await until('other leaders', async () => {
    const now = await inSync(admin, topics);
    return now.every(({ replicas }) => replicas.length === 2) ? now : undefined;
  });
  await reassign(
    admin,
    others.map(({ leader, replicas, ...place }) => ({ ...place, replicas: [...replicas, leader] })),
  );
  await until('all replicas', async () => {
    const now = await inSync(admin, topics);
    return now.every(({ replicas }) => replicas.length === 3) || undefined;
  });
  const leaders = new Map(before.map(({ topic, partition, leader }) => [`${topic}-${partition}`, leader]));
  return after.filter(({ topic, partition, leader }) => leaders.get(`${topic}-${partition}`) !== leader)
    .length;
}

test(
  'nothing is lost or repeated while three brokers restart, are killed, and hand over leaders and coordinators',
  { timeout: 180_000 + times * 240_000 },
  async (t) => {
    const random = seeded(t, 'brokers');
    const stack = await stackOf(t, 3);
    const application = await Application.create(t);
    const { admin } = application.cluster;
    const topics = application.topics;
    const traffic = application.traffic({ rate: 100 });
    const reader = await application.reader();
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    const all = [...topics, ...internalTopics];
    const done = { restarts: 0, kills: 0, leaders_moved: 0, coordinators_moved: 0 };
    const pickBroker = (): Part => stack.kafka.brokers[Math.floor(random() * 3)]!;
    for (let round = 0; round < times; round += 1) {
      await application.progress(100);
      done.leaders_moved += await moveLeaders(admin, topics);
      await application.progress(100);
      done.coordinators_moved += await moveLeaders(admin, internalTopics);
      await application.progress(100);
      for (const broker of stack.kafka.brokers) {
        await broker.stop('SIGTERM');
        await application.progress(20);
        await broker.start();
        await inSync(admin, all);
        done.restarts += 1;
      }
      await sleep(random() * 1_000);
      const victim = pickBroker();
      await victim.stop('SIGKILL');
      await application.progress(100);
      await victim.start();
      await inSync(admin, all);
      done.kills += 1;
    }
    await application.progress(100);
    const sent = await traffic.stop();
    await application.drained();
    await reader.caughtUp();
    await application.audit({ ...done, sent, waits: await reader.stop() });
    assert.ok(done.leaders_moved > 0 && done.coordinators_moved > 0, 'no leader ever moved');
    for (const worker of workers) await worker.stop();
    await stack.stop();
  },
);
