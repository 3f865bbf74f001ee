/** Processes of two releases next to each other: whether each of them has its share of the work. */
import assert from 'node:assert/strict';
import type { RunningSink } from '../../consumers/postgres/main.ts';
import { page, type SinkStack } from '../consumers/postgres/harness.ts';
import { until } from '../streams/until.ts';
import type { Application } from './application.ts';
import type { WorkerProcess } from './worker-process.ts';

/** The tasks that a worker was given last. */
function tasksOf({ log }: WorkerProcess): number[] {
  const entries = log.split('\n').filter((line) => line.includes('"tasks assigned"'));
  const { tasks } = JSON.parse(entries.at(-1) ?? '{}') as { tasks?: number[] };
  return tasks ?? [];
}

/** Waits until these workers have divided the tasks evenly, and every partition has moved on in their hands. */
export async function work(application: Application, ...workers: WorkerProcess[]): Promise<void> {
  const each = application.partitions / workers.length;
  await eventually('an even division of the tasks', () => {
    const held = workers.map(tasksOf);
    const isEven =
      held.every(({ length }) => Math.abs(length - each) < 1) &&
      new Set(held.flat()).size === application.partitions;
    return Promise.resolve(isEven || undefined);
  });
  await Promise.all(workers.map((worker) => worker.running()));
  await application.progress(200);
  await application.passed(await application.ends());
}

/** Waits until these sinks are the group, each of them has stored more, and every partition has moved on. */
export async function stored(
  { prefix, admin, names }: Pick<SinkStack, 'prefix' | 'admin' | 'names'>,
  ...sinks: RunningSink[]
): Promise<void> {
  const groupId = `${prefix}postgres-sink`;
  await eventually(`a group of ${sinks.length}`, async () => {
    const { groups } = await admin.describeGroups([groupId]);
    return (groups[0]?.state === 'Stable' && groups[0].members.length === sinks.length) || undefined;
  });
  const inserted = (): Promise<number[]> => Promise.all(sinks.map(insertedBy));
  const before = await inserted();
  await eventually(
    'more rows of each sink',
    async () => (await inserted()).every((now, at) => now > before[at]!) || undefined,
  );
  const topics = Object.values(names.priority);
  for (const topic of topics) {
    const ends = await admin.fetchTopicOffsets(topic);
    await eventually(`the ends of ${topic}`, async () => {
      const [committed] = await admin.fetchOffsets({ groupId, topics: [topic] });
      const isPassed = ({ partition, high }: (typeof ends)[number]): boolean =>
        committed?.partitions.some(
          (one) => one.partition === partition && BigInt(one.offset) >= BigInt(high),
        ) === true;
      return ends.every(isPassed) || undefined;
    });
  }
}

/** With time for a machine that has other work. */
function eventually(what: string, ask: () => Promise<true | undefined>): Promise<true> {
  return until(what, ask, 90_000);
}

async function insertedBy(sink: RunningSink): Promise<number> {
  const { status, body } = await page(sink, '/metrics');
  assert.equal(status, 200);
  return Number(/^sink_events_total\{result="inserted"\} (\d+)$/m.exec(body)?.[1] ?? 0);
}
