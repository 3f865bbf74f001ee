import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changelogConfig } from '../../../streams/changelogs.ts';
import { soon, until } from '../until.ts';
import { Cluster, type Appended, type Started } from './cluster.ts';
import { Flow } from './flow.ts';
import { newTopicInFront } from './new-topic.ts';
import { spread, tasks } from './tasks.ts';
import { assertOnceEach, traced, tracedAndCounted } from './traced.ts';

/** Whether each is running: it is so once its stores are as the committed positions have it. */
function restored(instances: readonly Started[]): boolean {
  return instances.every(({ streams }) => streams.state === 'RUNNING');
}

describe('several instances of an application', { timeout: 120_000 }, () => {
  test('a second instance takes half of the tasks, and gives them back when it is closed', async (t) => {
    const cluster = await Cluster.open(t);
    const [a = '', b = '', to = ''] = await cluster.createTopics(['a', 'b', 'out']);
    const flow = await Flow.start(cluster, [a, b]);
    const first = await cluster.start(traced([a, b], to), { instanceId: 'first' });
    await spread([first], [4]);
    const second = await cluster.start(traced([a, b], to), { instanceId: 'second' });
    const [kept] = await spread([first, second], [2, 2]);
    assert.deepEqual(kept, [0, 1]);
    await second.streams.close();
    await spread([first], [4]);
    const sent = await flow.stop();
    await cluster.drained([a, b]);
    await first.streams.close();
    assertOnceEach(await cluster.read([to]), sent);
  });

  test('over a rolling restart of three, tasks of the other two stay where they are and restore nothing', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out'], { partitions: 6 });
    const [changelog = ''] = await cluster.createTopics(['app-counts-changelog'], {
      partitions: 6,
      config: changelogConfig,
    });
    const start = (at: number): Promise<Started> =>
      cluster.start(tracedAndCounted(from, to), { instanceId: `i${at}` });
    const restores = ({ entries }: Started): number =>
      entries.filter(({ message }) => message === 'task restored').length;
    const flow = await Flow.start(cluster, [from], 6);
    const instances: Started[] = [];
    for (const [at, counts] of [[6], [3, 3], [2, 2, 2]].entries()) {
      instances.push(await start(at));
      await spread(instances, counts);
      await until('all tasks to be restored', () => restored(instances) || undefined);
    }
    for (const at of [0, 1, 2]) {
      const before = instances.map((instance) => ({ held: tasks(instance)!, restores: restores(instance) }));
      await instances[at]!.streams.close();
      const others = instances.filter((_, other) => other !== at);
      await spread(others, [3, 3]);
      await until('the gained tasks to be restored', () => restored(others) || undefined);
      const widest = instances.map((instance) => ({ held: tasks(instance)!, restores: restores(instance) }));
      for (const other of [0, 1, 2].filter((one) => one !== at)) {
        const { held, restores: were } = before[other]!;
        assert.ok(held.every((task) => widest[other]!.held.includes(task)));
        assert.equal(widest[other]!.restores - were, widest[other]!.held.length - held.length);
      }
      instances[at] = await start(at);
      await spread(instances, [2, 2, 2]);
      await until('all tasks to be restored', () => restored(instances) || undefined);
      for (const other of [0, 1, 2].filter((one) => one !== at)) {
        assert.ok(tasks(instances[other]!)!.every((task) => widest[other]!.held.includes(task)));
        assert.equal(restores(instances[other]!), widest[other]!.restores);
      }
    }
    const sent = await flow.stop();
    await cluster.drained([from]);
    assertOnceEach(await cluster.read([to]), sent);
    const counts = new Map<string, number>();
    for (const { key, value } of await cluster.read([changelog])) counts.set(String(key), Number(value));
    assert.equal(
      [...counts.values()].reduce((sum, count) => sum + count, 0),
      sent,
    );
  });

  test('of two that were given the same instance id the younger fails, and nothing is lost or repeated', async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const flow = await Flow.start(cluster, [from]);
    const options = { instanceId: 'twin' };
    const first = await cluster.start(traced(from, to), options);
    await spread([first], [4]);
    const second = await cluster.start(traced(from, to), options);
    await assert.rejects(soon('the failure', second.streams.failed), { code: 'INSTANCE_ID_TAKEN' });
    await second.streams.close();
    await spread([first], [4]);
    const sent = await flow.stop();
    await cluster.drained([from]);
    assert.equal(first.streams.state, 'RUNNING');
    await first.streams.close();
    assertOnceEach(await cluster.read([to]), sent);
  });

  test("case 6: an instance recovers beside another one's open transaction, without waiting for its end", async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const groupId = `${cluster.prefix}app`;
    let hangs: (() => void) | undefined;
    let release = (): void => undefined;
    const hanging = new Promise<void>((resolve) => (hangs = resolve));
    let mayHang = false;
    const first = await cluster.start(traced(from, to), {
      instanceId: 'first',
      // Its offsets are in the transaction then, which stays open.
      afterStep: (step) => {
        if (!mayHang || step !== 'offsets') return;
        hangs?.();
        return new Promise<void>((resolve) => (release = resolve));
      },
    });
    t.after(() => release());
    let fails = false;
    const second = await cluster.start(traced(from, to), {
      instanceId: 'second',
      afterStep: (step) => {
        if (!fails || step !== 'outputs') return;
        fails = false;
        throw new Error('broken');
      },
    });
    const [ofFirst = [], ofSecond = []] = await spread([first, second], [2, 2]);
    const record = (partition: number): Appended => ({ topic: from, partition, value: Buffer.from('m0') });
    mayHang = true;
    await cluster.append(ofFirst.map(record));
    await soon('the transaction that hangs', hanging);
    fails = true;
    await cluster.append(ofSecond.map(record));
    await until('the offsets of the other instance', async () => {
      const behind = await cluster.lag([from]);
      return ofSecond.some((partition) => behind.some((name) => name.startsWith(`${from}-${partition} `)))
        ? undefined
        : true;
    });
    assert.equal(fails, false);
    const asking = cluster.kafka.membership({ groupId, sessionTimeout: 10_000, rebalanceTimeout: 10_000 });
    cluster.after(() => asking.disconnect());
    await asking.connect();
    const topics = [{ topic: from, partitions: ofFirst.map((partition) => ({ partition })) }];
    const [answer] = await asking.fetchOffsets({ topics, requireStable: true });
    assert.deepEqual(
      answer?.partitions.map(({ error }) => error?.type),
      ofFirst.map(() => 'UNSTABLE_OFFSET_COMMIT'),
      'the transaction had ended before the other instance recovered',
    );
    mayHang = false;
    release();
    await cluster.drained([from]);
    await Promise.all([first.streams.close(), second.streams.close()]);
    assert.equal((await cluster.read([to])).length, 4);
  });

  test("case 6: a close does not wait for another member's open transaction", async (t) => {
    const cluster = await Cluster.open(t);
    const [from = '', to = ''] = await cluster.createTopics(['in', 'out']);
    const groupId = `${cluster.prefix}app`;
    // Somebody's transaction holds the offsets of every partition back, for as long as its timeout.
    const producer = cluster.kafka.producer({
      transactionalId: `${cluster.prefix}hangs`,
      transactionTimeout: 60_000,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    cluster.after(() => producer.disconnect());
    await producer.connect();
    const transaction = await producer.transaction();
    const partitions = [0, 1, 2, 3].map((partition) => ({ partition, offset: '0' }));
    await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic: from, partitions }] });
    const { streams } = await cluster.start(traced(from, to));
    await until('its membership', async () => {
      const { groups } = await cluster.admin.describeGroups([groupId]);
      return groups[0]?.state === 'Stable' || undefined;
    });
    assert.equal(streams.state, 'REBALANCING');
    const startedAt = performance.now();
    await streams.close();
    const tookMs = performance.now() - startedAt;
    assert.equal(streams.state, 'NOT_RUNNING');
    assert.ok(tookMs < 10_000, `the close took ${Math.round(tookMs)} ms`);
    await transaction.abort();
  });

  for (const leader of ['older', 'newer'] as const)
    test(`case 8: an upgrade with a new source topic in front left partitions unread, with the ${leader} as leader`, (t) =>
      newTopicInFront(t, leader));
});
