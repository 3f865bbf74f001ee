import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changelogConfig } from '../../../streams/changelogs.ts';
import { serdes, StreamsBuilder } from '../../../streams/index.ts';
import { until } from '../until.ts';
import { Cluster } from './cluster.ts';
import { Counting } from './counting.ts';

describe('state on a real broker', () => {
  test('is restored by the next instance, from the changelog alone', async (t) => {
    const counting = await Counting.create(t);
    await counting.append(['a', 'b']);
    const first = await counting.start();
    await counting.drained();
    await first.streams.close();
    await counting.append(['c']);
    const second = await counting.start();
    await counting.drained();
    assert.deepEqual(await counting.counted(), ['a 1', 'b 2', 'c 3']);
    const restored = second.entries.filter(({ message }) => message === 'task restored');
    assert.deepEqual(
      restored.map(({ fields }) => (fields as { records: number }).records).sort(),
      [0, 0, 0, 1],
    );
  });

  test('is refused when the group has lost its offsets, and nothing is processed', async (t) => {
    const counting = await Counting.create(t);
    await counting.append(['a', 'b']);
    const first = await counting.start();
    await counting.drained();
    await first.streams.close();
    await counting.cluster.admin.deleteGroups([`${counting.cluster.prefix}app`]);
    const ended = await counting.ended(await counting.start());
    assert.match(ended, /^STATE_WITHOUT_OFFSETS: .*--reset/);
    assert.deepEqual(await counting.counted(), ['a 1', 'b 2']);
  });

  test('is deleted and rebuilt when the operator asks for it', async (t) => {
    const counting = await Counting.create(t);
    await counting.append(['a', 'b']);
    const first = await counting.start();
    await counting.drained();
    await first.streams.close();
    await counting.cluster.admin.deleteGroups([`${counting.cluster.prefix}app`]);
    const second = await counting.start({ reset: true });
    await counting.drained();
    await second.streams.close();
    assert.deepEqual(await counting.counted(), ['a 1', 'b 2', 'a 1', 'b 2']);
    // And then it is an ordinary application again.
    await counting.append(['c']);
    await counting.start();
    await counting.drained();
    assert.equal((await counting.counted()).at(-1), 'c 3');
  });

  test('a first transaction that was aborted does not make the next start a refused one', async (t) => {
    const counting = await Counting.create(t);
    await counting.append(['a']);
    let failures = 0;
    const first = await counting.start({
      maxRecoveries: 0,
      afterStep: (step) => {
        if (step !== 'changelogs') return;
        failures += 1;
        throw new Error('dies here');
      },
    });
    assert.match(await counting.ended(first), /^RECOVERIES_EXHAUSTED/);
    await first.streams.close();
    assert.equal(failures, 1);
    await counting.start();
    await counting.drained();
    assert.deepEqual(await counting.counted(), ['a 1']);
  });

  test('the first transaction of a task commits a position of every source partition, also of those never written', async (t) => {
    const cluster = await Cluster.open(t);
    const [a = '', b = '', to = ''] = await cluster.createTopics(['a', 'b', 'out']);
    await cluster.createTopics(['app-counts-changelog'], { config: changelogConfig });
    const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
    builder
      .stream('in', [a, b], { key: serdes.utf8, value: serdes.utf8 })
      .processValues('keep', (value, _, { counts }) => (counts.put(value, value), [value]), {
        stores: ['counts'],
      })
      .to('out', to, { value: serdes.utf8 });
    await cluster.append([{ topic: a, partition: 2, value: Buffer.from('x') }]);
    await cluster.start(builder.build());
    await cluster.drained([a]);
    const offsets = await cluster.admin.fetchOffsets({ groupId: `${cluster.prefix}app`, topics: [b] });
    assert.equal(offsets[0]?.partitions.find(({ partition }) => partition === 2)?.offset, '0');
  });

  test('is swept by the wall clock, in the changelog too, without a record that would carry it', async (t) => {
    const counting = await Counting.create(t);
    await counting.append(['a'], 0, Date.now() - 100_000);
    const first = await counting.start({ sweepIntervalMs: 50 }, { retentionMs: 10, sweepAfterMs: 20 });
    await counting.drained();
    const changelog = await until('a tombstone', async () => {
      const records = await counting.cluster.read([counting.changelog]);
      return records.at(-1)?.value === null ? records : undefined;
    });
    assert.deepEqual(
      changelog.map(({ value }) => value?.toString() ?? null),
      ['1', null],
    );
    await first.streams.close();
    const second = await counting.start();
    await until('the restore', () => {
      const restored = second.entries.filter(({ message }) => message === 'task restored');
      return Promise.resolve(restored.length === 4 || undefined);
    });
    await counting.append(['b']);
    await counting.drained();
    assert.deepEqual(await counting.counted(), ['a 1', 'b 1']);
  });

  test('a failed commit leaves no trace in it, and one whose answer was lost is not repeated', async (t) => {
    const counting = await Counting.create(t);
    let broken = 0;
    await counting.start({
      afterStep: (step) => {
        const fails =
          (broken < 2 && step === 'changelogs') || (broken >= 2 && broken < 4 && step === 'commit');
        if (!fails) return;
        broken += 1;
        throw new Error('the connection broke');
      },
    });
    for (const value of ['a', 'b', 'c']) {
      await counting.append([value]);
      await counting.drained();
    }
    assert.equal(broken, 4);
    assert.deepEqual(await counting.counted(), ['a 1', 'b 2', 'c 3']);
  });

  test('a changelog that is not compacted is refused at the start', async (t) => {
    const counting = await Counting.create(t, { 'cleanup.policy': 'delete' });
    await assert.rejects(counting.start(), { code: 'INVALID_TOPICS', message: /app-counts-changelog/ });
  });

  test('a value that is too large for the changelog is one dead letter and leaves nothing in the store', async (t) => {
    const counting = await Counting.create(t, { ...changelogConfig, 'max.message.bytes': '2000' });
    const [dlq = ''] = await counting.cluster.createTopics(['dlq']);
    const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
    builder
      .stream('in', counting.from, { key: serdes.utf8, value: serdes.utf8 })
      .processValues(
        'append',
        (value, { key }, { counts }) => {
          const all = `${counts.get(key) ?? ''}${value}`;
          counts.put(key, all);
          return [String(all.length)];
        },
        { stores: ['counts'] },
      )
      .to('out', counting.to, { value: serdes.utf8 });
    await counting.append(['a', 'b'.repeat(3_000), 'c']);
    await counting.cluster.start(builder.build(), { deadLetterTopic: dlq });
    await counting.drained();
    assert.deepEqual(await counting.counted(), ['1', '2']);
    assert.equal((await counting.cluster.read([dlq])).length, 1);
  });
});

describe('an instance', () => {
  test('whose loop is stuck says so, with the partition in which records wait, and is well again afterwards', async (t) => {
    const counting = await Counting.create(t);
    let release = (): void => undefined;
    const { streams } = await counting.start({
      afterStep: (step) =>
        step === 'begin' ? new Promise<void>((resolve) => (release = resolve)) : undefined,
    });
    t.after(() => release());
    await counting.append(['a']);
    const reasons = await until('a standstill', () => {
      const found = streams.stalls(2_000).map(({ topic, reason }) => [topic === counting.from, reason]);
      return found.length === 2 ? found : undefined;
    });
    assert.deepEqual(reasons, [
      [false, 'the stream thread makes no step'],
      [true, 'records wait and nothing is committed'],
    ]);
    release();
    await until('life', () => (streams.stalls(1_500).length === 0 ? true : undefined));
    await counting.drained();
    assert.deepEqual(await counting.counted(), ['a 1']);
  });
});
