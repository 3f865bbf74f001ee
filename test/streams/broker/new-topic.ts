import type { TestContext } from 'node:test';
import { until } from '../until.ts';
import { Cluster, type Started } from './cluster.ts';
import { Flow } from './flow.ts';
import { spread, tasks } from './tasks.ts';
import { assertOnceEach, traced } from './traced.ts';

/** An instance of the application before the upgrade, of whichever build. */
interface Older extends Pick<Started, 'entries'> {
  readonly streams: { close(): Promise<void> };
}

/** Starts an instance that traces `from` to `to`; it is closed after the test. */
type StartOlder = (cluster: Cluster, from: readonly string[], to: string) => Promise<Older>;

/**
 * A rolling upgrade to a topology that reads a new topic in front of the others. While both run, everything of the topics
 * that both know comes out, and of the new one what belongs to the tasks of the newer; after it, everything.
 * @param leader - who is in the group first, and so leads it.
 * @param startOlder - by default, an instance of this build.
 */
export async function newTopicInFront(
  t: TestContext,
  leader: 'older' | 'newer',
  startOlder: StartOlder = (cluster, from, to) => cluster.start(traced(from, to), { instanceId: 'older' }),
): Promise<void> {
  const cluster = await Cluster.open(t);
  const [a = '', b = '', added = '', to = ''] = await cluster.createTopics(['a', 'b', 'new', 'out']);
  const flow = await Flow.start(cluster, [added, a, b]);
  const starts = {
    older: () => startOlder(cluster, [a, b], to),
    newer: () => cluster.start(traced([added, a, b], to), { instanceId: 'newer' }),
  };
  const first = await starts[leader]();
  await spread([first], [4]);
  const second = await starts[leader === 'older' ? 'newer' : 'older']();
  await spread([first, second], [2, 2]);
  const [older, newer] = leader === 'older' ? [first, second] : [second, first];
  const ofNewer = tasks(newer) ?? [];
  await passed(
    cluster,
    [added, a, b],
    ({ topic, partition }) => topic !== added || ofNewer.includes(partition),
  );
  await older.streams.close();
  await spread([newer], [4]);
  const sent = await flow.stop();
  await cluster.drained([added, a, b]);
  await newer.streams.close();
  assertOnceEach(await cluster.read([to]), sent);
}

/** Waits until the group has committed what the partitions that `isMeant` chooses hold now. */
async function passed(
  cluster: Cluster,
  topics: readonly string[],
  isMeant: (place: { topic: string; partition: number }) => boolean,
): Promise<void> {
  const open = new Map<string, bigint>();
  for (const topic of topics)
    for (const { partition, high } of await cluster.admin.fetchTopicOffsets(topic))
      if (isMeant({ topic, partition })) open.set(`${topic}-${partition}`, BigInt(high));
  await until('the records of both', async () => {
    const committed = await cluster.admin.fetchOffsets({
      groupId: `${cluster.prefix}app`,
      topics: [...topics],
    });
    for (const { topic, partitions } of committed)
      for (const { partition, offset } of partitions)
        if (BigInt(offset) >= (open.get(`${topic}-${partition}`) ?? 0n)) open.delete(`${topic}-${partition}`);
    return open.size === 0 || undefined;
  });
}
