/** What readers and probes make of a partition that a broker answers for with errors only. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import type { Reader } from '../../kafka/consume.ts';
import { FetchFailures } from '../../kafka/fetch-failures.ts';
import type { Stall } from '../../kafka/progress.ts';
import { watchStalls } from '../../kafka/stall-watch.ts';
import { serdes, StreamsBuilder } from '../../streams/index.ts';
import { noMetrics } from '../../streams/metrics.ts';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';
import { collectingReader } from './collecting-reader.ts';

/** Kafka's numbers of what a broker may say of a partition again and again. */
const errors = { CORRUPT_MESSAGE: 2, KAFKA_STORAGE_ERROR: 56, UNKNOWN: -1 } as const;
const metadataKey = 3;

async function open(t: TestContext, partitions = 2) {
  const cluster = await Cluster.open(t);
  const [topic = ''] = await cluster.createTopics(['in'], { partitions });
  const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
  cluster.after(() => proxy.close());
  const append = (partition: number, value: string): Promise<void> =>
    cluster.append([{ topic, partition, value: Buffer.from(value) }]);
  return { cluster, topic, proxy, append, connection: { brokers: [proxy.address] } };
}

async function read(
  { cluster, topic, connection }: Pick<Awaited<ReturnType<typeof open>>, 'cluster' | 'topic' | 'connection'>,
  partitions = 2,
): Promise<{ handled: string[]; reader: Reader; failed: Promise<never> }> {
  const handled: string[] = [];
  const { reader, failed } = await collectingReader(cluster, { topic, partitions, handled, connection });
  return { handled, reader, failed };
}

const of = (stalls: readonly Stall[], partition: number): string | undefined =>
  stalls.find((stall) => stall.partition === partition)?.reason;

describe('a partition that a broker answers for with errors only', { timeout: 120_000 }, () => {
  for (const [type, code] of Object.entries(errors)) {
    test(`case 11: ${type} of one partition is seen by the probe of a reader, ends nothing, and is over with the next answer`, async (t) => {
      const opened = await open(t);
      const { topic, proxy, append } = opened;
      const mend = proxy.failsFetches(topic, 0, code);
      await append(0, 'waiting');
      await append(1, 'one');
      const { handled, reader, failed } = await read(opened);
      let failure: unknown;
      failed.catch((error: unknown) => (failure = error));
      await until('the other partition', () => handled.includes('one') || undefined);
      const reason = await until('the stall', () => of(reader.stalls(500), 0));
      assert.equal(reason, `fetches are answered with ${type}`);
      assert.deepEqual([of(reader.stalls(500), 1), failure], [undefined, undefined]);
      mend();
      await until('the record', () => handled.includes('waiting') || undefined);
      await until('no stall', () => reader.stalls(0).length === 0 || undefined);
      assert.equal(failure, undefined);
    });

    test(`case 11: ${type} of one partition is seen by the probe, the metric and the log of a topology`, async (t) => {
      const { cluster, topic, proxy, append, connection } = await open(t);
      const [to = ''] = await cluster.createTopics(['out'], { partitions: 2 });
      const mend = proxy.failsFetches(topic, 0, code);
      await append(0, 'waiting');
      await append(1, 'one');
      const builder = new StreamsBuilder();
      builder
        .stream('raw', topic, { key: serdes.bytes, value: serdes.bytes })
        .to('out', to, { value: serdes.bytes });
      let told: readonly Stall[] = [];
      const metrics = {
        ...noMetrics,
        onStalls: (stalls: readonly Stall[]) => {
          told = stalls;
        },
      };
      const { streams, entries } = await cluster.start(builder.build(), {
        connection,
        stallMs: 2_000,
        metrics,
      });
      const reason = `fetches are answered with ${type}`;
      await until('the metric', () => of(told, 0) === reason || undefined);
      assert.equal(of(streams.stalls(), 0), reason);
      assert.equal(streams.state, 'RUNNING');
      const { fields } = await until('the line', () =>
        entries.find(({ message }) => message === 'nothing moves'),
      );
      assert.deepEqual([fields['topic'], fields['partition'], fields['reason']], [topic, 0, reason]);
      mend();
      await cluster.drained([topic]);
      await until('no stall', () => streams.stalls().length === 0 || undefined);
      assert.equal(entries.filter(({ message }) => message.startsWith('transaction failed')).length, 0);
    });
  }

  for (const [name, apiKey] of Object.entries({ JoinGroup: 11, Heartbeat: 12 })) {
    test(`case 11: a coordinator that answers ${name} with UNKNOWN is asked again, and its reader does not end`, async (t) => {
      const opened = await open(t);
      const { proxy, append } = opened;
      const mend = proxy.fails(apiKey, errors.UNKNOWN);
      const { handled, reader, failed } = await read(opened);
      let failure: unknown;
      failed.catch((error: unknown) => (failure = error));
      await until('three answers', () => proxy.requests(apiKey) >= 3 || undefined);
      if (name === 'JoinGroup') {
        const [stall] = await until('the stall', () => {
          const stalls = reader.stalls(500);
          return stalls.length > 0 ? stalls : undefined;
        });
        assert.equal(stall?.reason, 'the group gives no assignment');
      }
      mend();
      await append(0, 'one');
      await until('the record', () => handled.includes('one') || undefined);
      assert.equal(failure, undefined);
    });
  }

  test('case 11: a topic that was deleted is asked for less and less often, the probe names it, and one of the same name is read', async (t) => {
    const opened = await open(t, 1);
    const { cluster, topic, proxy, append } = opened;
    await append(0, 'one');
    const { handled, reader } = await read(opened, 1);
    await until('the record', () => handled.includes('one') || undefined);
    await cluster.admin.deleteTopics({ topics: [topic] });
    const before = proxy.requests(metadataKey);
    const { stalledMs } = await until('the stall', () =>
      reader.stalls(3_000).find(({ reason }) => reason.endsWith('UNKNOWN_TOPIC_OR_PARTITION')),
    );
    // It used to be ten a second.
    const questions = proxy.requests(metadataKey) - before;
    assert.ok(questions < stalledMs / 200, `${questions} questions in ${stalledMs} ms`);
    await cluster.createTopics(['in'], { partitions: 1 });
    await append(0, 'two');
    await append(0, 'three');
    await until('a record of the topic that was created anew', () => handled.includes('three') || undefined);
  });
});

test('case 11: an outage counts for no partition: neither one of the broker nor one that leaves no leader', (t) => {
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  const failures = new FetchFailures();
  const [answered, unled] = [0, 1].map((partition) => ({ topic: 'a', partition }));
  failures.failed(answered!, 'CORRUPT_MESSAGE');
  failures.failed(unled!, 'LEADER_NOT_AVAILABLE', true);
  now += 60_001;
  assert.deepEqual(
    failures.stalls(60_000).map(({ partition }) => partition),
    [0],
  );
  failures.excuse();
  now += 60_000;
  assert.deepEqual(failures.stalls(60_000), []);
  failures.failed(unled!, 'CORRUPT_MESSAGE');
  now += 1;
  assert.deepEqual(
    failures.stalls(0).map(({ partition, stalledMs }) => [partition, stalledMs]),
    [
      [0, 60_001],
      [1, 1],
    ],
  );
  failures.over(answered!);
  failures.retain(({ partition }) => partition !== 1);
  assert.deepEqual(failures.stalls(0), []);
});

test('the pause before a failing partition is asked for again doubles up to a second', (t) => {
  let now = 0;
  t.mock.method(performance, 'now', () => now);
  const failures = new FetchFailures();
  const partition = { topic: 'a', partition: 0 };
  const pauses = Array.from({ length: 6 }, () => {
    failures.failed(partition, 'CORRUPT_MESSAGE');
    const pause = failures.pauseMs(partition);
    now += pause;
    return pause;
  });
  assert.deepEqual(pauses, [100, 200, 400, 800, 1_000, 1_000]);
  assert.equal(failures.pauseMs(partition), 0);
});

test('what stands still is logged once, and again when it is something else', (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let stalls: Stall[] = [];
  const lines: unknown[] = [];
  const told: number[] = [];
  const end = watchStalls({
    stalls: () => stalls,
    onStalls: ({ length }) => told.push(length),
    log: { error: (fields) => lines.push(fields) },
  });
  t.mock.timers.tick(1_000);
  stalls = [{ topic: 'a', partition: 1, reason: 'why', stalledMs: 60_000.4 }];
  t.mock.timers.tick(2_000);
  stalls = [{ reason: 'another', stalledMs: 1 }];
  t.mock.timers.tick(1_000);
  end();
  t.mock.timers.tick(5_000);
  assert.deepEqual(told, [0, 1, 1, 1]);
  assert.deepEqual(lines, [
    { topic: 'a', partition: 1, reason: 'why', stalledMs: 60_000 },
    { topic: undefined, partition: undefined, reason: 'another', stalledMs: 1 },
  ]);
});
