/** Issue 15, case 2: a changed byte in a fetched batch was decoded as another value; checksums were never checked. */
import assert from 'node:assert/strict';
import { describe, test, type TestContext } from 'node:test';
import { KafkaProxy } from '../faults/tcp-proxy.ts';
import { errorHeader } from '../../streams/errors.ts';
import { bootstrapServers, Cluster, type Appended, type Started } from '../streams/broker/cluster.ts';
import { Counting } from '../streams/broker/counting.ts';
import { traced, values } from '../streams/broker/traced.ts';
import { soon, until } from '../streams/until.ts';

const damageLine = 'a fetched batch is damaged: fetching it again on a new connection';

/** Two topics and a dead-letter topic, in `from` five batches a partition, and an instance behind a proxy. */
async function damaged(
  t: TestContext,
  times: number,
): Promise<{ cluster: Cluster; to: string; deadLetters: string; started: Started; left: () => number }> {
  const cluster = await Cluster.open(t);
  const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
  cluster.after(() => proxy.close());
  const [from = '', to = '', deadLetters = ''] = await cluster.createTopics(['in', 'out', 'dlq'], {
    partitions: 2,
  });
  for (const name of ['first', 'second', 'PLANTED', 'fourth', 'fifth']) {
    const record = (partition: number): Appended => ({
      topic: from,
      partition,
      value: Buffer.from(`${name}${partition}`),
    });
    await cluster.append([record(0), record(0), record(1)]);
  }
  const left = proxy.damages('PLANTED0', times);
  const started = await cluster.start(traced(from, to), {
    connection: { brokers: [proxy.address] },
    deadLetterTopic: deadLetters,
  });
  await cluster.drained([from]);
  await started.streams.close();
  return { cluster, to, deadLetters, started, left };
}

describe('case 2: a batch whose bytes were changed', { concurrency: true, timeout: 120_000 }, () => {
  test('on the way is fetched again, and comes as it was written', async (t) => {
    const { cluster, to, deadLetters, started, left } = await damaged(t, 3);
    assert.equal(left(), 0);
    assert.equal((await cluster.read([deadLetters])).length, 0);
    const expected = ['first', 'second', 'PLANTED', 'fourth', 'fifth'].flatMap((name) => [
      `${name}0`,
      `${name}0`,
      `${name}1`,
    ]);
    assert.deepEqual(values(await cluster.read([to])), expected.sort());
    assert.equal(started.entries.filter(({ message }) => message === damageLine).length, 3);
    assert.ok(!JSON.stringify(started.entries).includes('PLANTED'), 'the log quotes a record');
  });

  test('for good is one dead letter with its offsets and bytes, and the records around it come once', async (t) => {
    const { cluster, to, deadLetters } = await damaged(t, Infinity);
    const expected = ['first', 'second', 'fourth', 'fifth'].flatMap((name) => [`${name}0`, `${name}0`]);
    const others = ['first', 'second', 'PLANTED', 'fourth', 'fifth'].map((name) => `${name}1`);
    assert.deepEqual(values(await cluster.read([to])), [...expected, ...others].sort());
    const letters = await cluster.read([deadLetters]);
    assert.equal(letters.length, 1);
    const { value, headers } = letters[0]!;
    const text = (name: string): string => String(headers[name]);
    assert.equal(text(errorHeader.exception), 'CORRUPT_BATCH');
    assert.equal(text(errorHeader.offset), '4');
    assert.match(text(errorHeader.message), /^the batch of the offsets 4 to 5 cannot be decoded: /);
    assert.equal(value?.readBigInt64BE(0), 4n);
    assert.ok(value.includes('LANTED0'));
  });

  test('in a changelog ends the start with topic, partition and offset', async (t) => {
    const counting = await Counting.create(t);
    const { cluster, changelog } = counting;
    const proxy = await KafkaProxy.start(bootstrapServers()[0] ?? '');
    cluster.after(() => proxy.close());
    const first = await counting.start();
    await counting.append(['a', 'b'], 1);
    await counting.drained();
    await first.streams.close();
    const planted = { topic: changelog, partition: 1, key: Buffer.from('PLANTED'), value: Buffer.from('7') };
    // Once the marker of the last transaction is written, nothing but the planted record comes at the end.
    const end = await until('the end of the last transaction', async () => {
      const endOf = async (isolationLevel: 0 | 1): Promise<string | undefined> =>
        (await cluster.admin.fetchTopicOffsets(changelog, { isolationLevel })).find(
          ({ partition }) => partition === 1,
        )?.high;
      const [high, stable] = [await endOf(0), await endOf(1)];
      return high === stable ? high : undefined;
    });
    await cluster.append([planted]);
    proxy.damages('PLANTED', Infinity);
    const { streams, entries } = await counting.start({ connection: { brokers: [proxy.address] } });
    await assert.rejects(soon('the end', streams.failed), (error) => {
      assert.equal((error as { code?: string }).code, 'CORRUPT_STATE');
      assert.match((error as Error).message, new RegExp(`${changelog}-1 offset ${end}, CORRUPT_BATCH`));
      return true;
    });
    assert.equal(streams.state, 'ERROR');
    assert.ok(!JSON.stringify(entries).includes('PLANTED'));
  });
});
