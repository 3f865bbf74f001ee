import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { page, partitions, sinkStack, type SinkStack } from '../consumers/postgres/harness.ts';
import { anEvent } from '../schemas/events.ts';
import { newTopicInFront } from '../streams/broker/new-topic.ts';
import { recordingLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { checkOutRelease, ofRelease, releaseMissing } from './release-before.ts';
import type { WorkerProcess } from './worker-process.ts';

type ConfigModule = typeof import('../../process/config.ts');
type SinkModule = typeof import('../../consumers/postgres/main.ts');
type StreamsModule = typeof import('../../streams/index.ts');
type TracedModule = typeof import('../streams/broker/traced.ts');
type Sink = Awaited<ReturnType<SinkStack['sink']>>;

/** The tasks that a worker was given last. */
function tasksOf({ log }: WorkerProcess): number[] {
  const entries = log.split('\n').filter((line) => line.includes('"tasks assigned"'));
  const { tasks } = JSON.parse(entries.at(-1) ?? '{}') as { tasks?: number[] };
  return tasks ?? [];
}

/** The records that a worker has restored its tasks from. */
function restoredBy({ lines }: WorkerProcess): number {
  return lines
    .filter((line) => line.startsWith('RESTORED '))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('a rolling upgrade', { skip: releaseMissing() }, () => {
  let release = '';
  before(
    async () => {
      release = await checkOutRelease();
    },
    { timeout: 400_000 },
  );

  test(
    'this build takes over from the release before, under load, and loses and repeats nothing',
    { timeout: 300_000 },
    async (t) => {
      const application = await Application.create(t);
      const traffic = application.traffic({ rate: 150 });
      const start = async (id: string, folder?: string): Promise<WorkerProcess> => {
        const worker = application.worker(id, {}, folder);
        await worker.running();
        return worker;
      };
      /** Waits until they have divided the tasks evenly, and every partition has moved on in their hands. */
      const work = async (...workers: WorkerProcess[]): Promise<void> => {
        const each = application.partitions / workers.length;
        await until('an even division of the tasks', () => {
          const held = workers.map(tasksOf);
          const isEven =
            held.every(({ length }) => Math.abs(length - each) < 1) &&
            new Set(held.flat()).size === application.partitions;
          return isEven || undefined;
        });
        await Promise.all(workers.map((worker) => worker.running()));
        await application.progress(200);
        await application.passed(await application.ends());
      };

      // The member that was in the group first leads it, until it leaves.
      const first = await start('old-1', release);
      await work(first);
      const second = await start('old-2', release);
      await work(first, second);
      const young = await start('new');
      await work(first, second, young);
      assert.ok(restoredBy(young) > 0, 'this build has restored nothing that the release before had written');
      await first.stop();
      await work(second, young);
      await second.stop();
      await work(young);

      // There is no way back with this state: the release before must stop loudly, and spoil nothing.
      await young.stop();
      const back = application.worker('old-3', {}, release);
      assert.notEqual(await back.ended(), 0);
      assert.match(back.log, /a store holds a value of layout .*run the build that wrote it/);
      const again = await start('new-2');
      await work(again);

      const sent = await traffic.stop();
      const { state_entries } = await application.audit({ sent });
      assert.ok(state_entries > 0, 'no state was compared');
      await again.stop();
    },
  );

  for (const leader of ['older', 'newer'] as const)
    test(
      `case 8: a new source topic in front of the others leaves nothing unread beside the release before, with the ${leader} as leader`,
      { timeout: 90_000 },
      (t) =>
        newTopicInFront(t, leader, async (cluster, from, to) => {
          const { KafkaStreams } = await ofRelease<StreamsModule>(release, 'streams/index.ts');
          const { traced } = await ofRelease<TracedModule>(release, 'test/streams/broker/traced.ts');
          const log = recordingLog();
          const { connection, prefix } = cluster;
          const options = { connection, applicationId: `${prefix}app`, instanceId: 'older', log };
          const streams = new KafkaStreams(traced(from, to), options);
          cluster.after(() => streams.close());
          await streams.start();
          return { streams, entries: log.entries };
        }),
    );

  test(
    'sinks of this build and of the release before share a group, either leading, and every event has its row',
    { timeout: 120_000 },
    async (t) => {
      const stack = await sinkStack();
      const { readConfig } = await ofRelease<ConfigModule>(release, 'process/config.ts');
      const { startSink, sinkVariables } = await ofRelease<SinkModule>(release, 'consumers/postgres/main.ts');
      const startOld = (): Promise<Sink> =>
        stack.sink({}, (env, log) => startSink(readConfig(sinkVariables, env), log));
      const flow = eventFlow(stack);
      t.after(async () => {
        await flow.stop();
        await stack.close();
      });

      let old = await startOld();
      await stored(stack, old);
      const young = await stack.sink();
      await stored(stack, old, young);
      await old.stop();
      await stored(stack, young);
      old = await startOld();
      await stored(stack, young, old);
      await young.stop();
      await stored(stack, old);

      const sent = await flow.stop();
      await until('everything to be committed', async () => (await stack.lag()) === 0 || undefined);
      const [row] = await stack.database.rows(
        'SELECT count(*)::integer AS rows, (SELECT count(*)::integer FROM sink_rejects) AS rejects FROM biometric_events',
      );
      assert.deepEqual(row, { rows: sent, rejects: 0 });
    },
  );
});

/** A steady flow of events, each of a resource of its own, to every partition of the priority topics. */
function eventFlow(stack: SinkStack): { stop(): Promise<number> } {
  let flowing = true;
  let sent = 0;
  const isFlowing = (): boolean => flowing;
  const running = (async () => {
    while (isFlowing()) {
      const events = (['HIGH', 'MEDIUM', 'NORMAL'] as const).flatMap((priority) =>
        Array.from({ length: partitions }, (_, partition) => {
          const raw = { topic: 'raw.oura', partition, offset: sent };
          return anEvent({ priority, resource_id: `r-${sent++}`, raw });
        }),
      );
      await stack.send(events);
      await sleep(20);
    }
    return sent;
  })();
  // A failure is reported when it is stopped.
  running.catch(() => undefined);
  return {
    stop() {
      flowing = false;
      return running;
    },
  };
}

/** Waits until these sinks are the group, each of them has stored more, and every partition has moved on. */
async function stored(stack: SinkStack, ...sinks: Sink[]): Promise<void> {
  const groupId = `${stack.prefix}postgres-sink`;
  await until(`a group of ${sinks.length}`, async () => {
    const { groups } = await stack.admin.describeGroups([groupId]);
    return (groups[0]?.state === 'Stable' && groups[0].members.length === sinks.length) || undefined;
  });
  const inserted = (): Promise<number[]> => Promise.all(sinks.map(insertedBy));
  const before = await inserted();
  await until(
    'more rows of each sink',
    async () => (await inserted()).every((now, at) => now > before[at]!) || undefined,
  );
  const topics = Object.values(stack.names.priority);
  for (const topic of topics) {
    const ends = await stack.admin.fetchTopicOffsets(topic);
    await until(`the ends of ${topic}`, async () => {
      const [committed] = await stack.admin.fetchOffsets({ groupId, topics: [topic] });
      const isPassed = ({ partition, high }: (typeof ends)[number]): boolean =>
        committed?.partitions.some(
          (one) => one.partition === partition && BigInt(one.offset) >= BigInt(high),
        ) === true;
      return ends.every(isPassed) || undefined;
    });
  }
}

async function insertedBy(sink: Sink): Promise<number> {
  const { body } = await page(sink, '/metrics');
  return Number(/^sink_events_total\{result="inserted"\} (\d+)$/m.exec(body)?.[1] ?? 0);
}
