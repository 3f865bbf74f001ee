import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LogScanner } from '../../kafka/scan.ts';
import { ChangelogEntries } from '../../topology/history.ts';
import { Cluster } from '../streams/broker/cluster.ts';
import { silentLog } from '../streams/log.ts';

test('the entries of a changelog follow what is added, replaced and deleted, and start again where its beginning is gone', async (t) => {
  const cluster = await Cluster.open(t);
  const [topic = ''] = await cluster.createTopics(['changelog'], { partitions: 1 });
  const { admin } = cluster;
  const scanner = new LogScanner(cluster.connection, { clientId: 'history-test', log: silentLog });
  cluster.after(() => scanner.close());
  const entries = new ChangelogEntries({ admin, scanner }, topic, 0);
  const put = (...puts: readonly [key: string, value: string | null][]): Promise<void> =>
    cluster.append(
      puts.map(([key, value]) => ({
        topic,
        key: Buffer.from(key),
        value: value === null ? null : Buffer.from(value),
        timestamp: 1_000,
      })),
    );
  const read = async (): Promise<string[]> =>
    [...(await entries.read())]
      .map(({ key, value, timestamp }) => `${key.toString()}=${value.toString()}@${timestamp}`)
      .sort();

  assert.deepEqual(await read(), []);
  await put(['a', '1'], ['b', '1']);
  await cluster.append([{ topic, key: null, value: Buffer.from('of another program') }]);
  assert.deepEqual(await read(), ['a=1@1000', 'b=1@1000']);
  assert.deepEqual(await read(), ['a=1@1000', 'b=1@1000']);
  await put(['a', '2'], ['b', null], ['c', '1']);
  assert.deepEqual(await read(), ['a=2@1000', 'c=1@1000']);
  assert.deepEqual(
    ['a', 'b'].map((key) => entries.get(Buffer.from(key))?.toString()),
    ['2', undefined],
  );
  assert.equal(entries.has(Buffer.from('a'), Buffer.from('2')), true);
  assert.equal(entries.has(Buffer.from('a'), Buffer.from('22')), false);
  assert.equal(entries.has(Buffer.from('b'), Buffer.from('1')), false);

  await put(['c', null], ['d', '1']);
  const [bounds] = await admin.fetchTopicOffsets(topic);
  const last = String(Number(bounds!.high) - 1);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: last }] });
  assert.deepEqual(await read(), ['d=1@1000']);
});
