import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  seededRandom,
  serdes,
  SimulatedCrash,
  StreamsBuilder,
  TopologyTestDriver,
  type Topology,
} from '../../streams/index.ts';

const steps = ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'] as const;

/** Counts per key; `bad` fails behind the store, `drop`s are counted and yield nothing. */
function counting(retention: { retentionMs?: number; sweepAfterMs?: number } = {}): Topology {
  const builder = new StreamsBuilder().addStateStore('counts', {
    key: serdes.utf8,
    value: serdes.utf8,
    ...retention,
  });
  builder
    .stream('in', ['a', 'b'], { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'count',
      (value, { topic, key }, { counts }) => {
        // As everywhere in a deterministic topology, the topic is part of the key.
        const name = `${topic}/${key}`;
        const count = Number(counts.get(name) ?? 0) + 1;
        counts.put(name, String(count));
        return value === 'drop' ? [] : [`${value} is ${count} of ${name}`];
      },
      { stores: ['counts'] },
    )
    .mapValues('check', (value) => {
      if (value.startsWith('bad')) throw new Error('bad');
      return value;
    })
    .to('out', 'out', { value: serdes.utf8 });
  return builder.build();
}

const input = (topic: string, key: string, value: string, partition = 0, timestamp = 0) => ({
  topic,
  key: Buffer.from(key),
  value: Buffer.from(value),
  partition,
  timestamp,
});
const outputs = (driver: TopologyTestDriver): string[] =>
  driver.output('out').map(({ value }) => String(value));
const state = (driver: TopologyTestDriver, partition = 0): string[] =>
  driver
    .storeEntries('counts', partition)
    .map(([key, value]) => `${String(key)}=${String(value)}`)
    .sort();

describe('state in the test driver', () => {
  test('is there again after a restart, from the changelog alone', async () => {
    const driver = new TopologyTestDriver(counting());
    await driver.pipe(input('a', 'k', 'x'));
    await driver.pipe(input('a', 'k', 'y'));
    driver.restart();
    assert.deepEqual(state(driver), ['a/k=2']);
    await driver.pipe(input('a', 'k', 'z'));
    assert.deepEqual(outputs(driver), ['x is 1 of a/k', 'y is 2 of a/k', 'z is 3 of a/k']);
  });

  test('has nothing of a record that failed behind the store', async () => {
    const driver = new TopologyTestDriver(counting(), { deadLetterTopic: 'dlq' });
    driver.append(input('a', 'k', 'x'), input('a', 'k', 'bad'), input('a', 'k', 'y'));
    await driver.process();
    assert.deepEqual(outputs(driver), ['x is 1 of a/k', 'y is 2 of a/k']);
    assert.equal(driver.output('dlq').length, 1);
  });

  test('has what a record wrote that yielded nothing', async () => {
    const driver = new TopologyTestDriver(counting());
    await driver.pipe(input('a', 'k', 'drop'));
    assert.deepEqual(state(driver), ['a/k=1']);
  });

  test('writes one changelog record per key and transaction', async () => {
    const driver = new TopologyTestDriver(counting());
    driver.append(input('a', 'k', 'x'), input('a', 'k', 'y'), input('a', 'l', 'z'));
    await driver.process();
    const changelog = driver.output('test-driver-counts-changelog');
    assert.deepEqual(
      changelog.map(({ key, value }) => `${String(key)}=${String(value)}`),
      ['a/k=2', 'a/l=1'],
    );
  });

  for (const step of steps) {
    for (const how of ['crashAfter', 'failAfter'] as const) {
      test(`is what the committed offsets say after a ${how === 'crashAfter' ? 'crash' : 'failure'} behind ${step}`, async () => {
        const driver = new TopologyTestDriver(counting());
        await driver.pipe(input('a', 'k', 'x'));
        driver.append(input('a', 'k', 'y'));
        await assert.rejects(driver.process({ [how]: step }), SimulatedCrash);
        const landed = step === 'commit' || step === 'foldIn';
        assert.deepEqual(state(driver), [landed ? 'a/k=2' : 'a/k=1']);
        await driver.process();
        assert.deepEqual(outputs(driver), ['x is 1 of a/k', 'y is 2 of a/k']);
        assert.deepEqual(state(driver), ['a/k=2']);
      });
    }
  }

  test('expires by the records, and is swept by the wall clock with a tombstone', async () => {
    const driver = new TopologyTestDriver(counting({ retentionMs: 10, sweepAfterMs: 100 }));
    await driver.pipe(input('a', 'k', 'x', 0, 0));
    await driver.pipe(input('a', 'k', 'y', 0, 11));
    assert.deepEqual(outputs(driver), ['x is 1 of a/k', 'y is 1 of a/k']);
    driver.nowMs = 112;
    await driver.punctuate();
    driver.restart();
    assert.deepEqual(state(driver), []);
    assert.equal(driver.output('test-driver-counts-changelog').at(-1)?.value, null);
  });
});

test('two operators, stores and names that do not fit are refused when the topology is built', () => {
  const store = { key: serdes.utf8, value: serdes.utf8 };
  const code = { code: 'INVALID_TOPOLOGY' };
  assert.throws(() => new StreamsBuilder().addStateStore('s', store).addStateStore('s', store), code);
  assert.throws(() => new StreamsBuilder().addStateStore('a b', store), code);
  assert.throws(() => new StreamsBuilder().addStateStore('s', { ...store, sweepAfterMs: 5 }), code);
  assert.throws(
    () => new StreamsBuilder().addStateStore('s', { ...store, retentionMs: 9, sweepAfterMs: 5 }),
    code,
  );
  const idle = new StreamsBuilder().addStateStore('s', store);
  idle.stream('in', 'in', store).to('out', 'out', { value: serdes.utf8 });
  assert.throws(() => idle.build(), code);
});

/** Searches for a schedule of crashes, failures and interleavings that changes what comes out. */
test('no schedule of crashes and interleavings changes outputs per raw partition, or the state', async (t) => {
  const only = process.env['DRIVER_SEED'];
  const first = Math.floor(Math.random() * 2 ** 31);
  const seeds = only === undefined ? Array.from({ length: 300 }, (_, at) => first + at) : [Number(only)];
  t.diagnostic(`DRIVER_SEED=${first} to ${first + seeds.length - 1}`);
  for (const seed of seeds) {
    const random = seededRandom(seed);
    const oneOf = (list: readonly string[]): string => list[Math.floor(random() * list.length)]!;
    const records = Array.from({ length: 40 }, () =>
      input(
        oneOf(['a', 'b']),
        oneOf(['k', 'l', 'm']),
        oneOf(['x', 'y', 'bad', 'drop']),
        random() < 0.5 ? 0 : 1,
      ),
    );
    const calm = new TopologyTestDriver(counting(), { partitions: 2, deadLetterTopic: 'dlq' });
    const stormy = new TopologyTestDriver(counting(), { partitions: 2, deadLetterTopic: 'dlq' });
    calm.append(...records);
    await calm.process();
    const half = Math.floor(random() * records.length);
    stormy.append(...records.slice(0, half));
    await stormy.processRandomly(seed);
    stormy.append(...records.slice(half));
    await stormy.processRandomly(seed + 1);
    const bySource = (driver: TopologyTestDriver): string[] =>
      ['a', 'b'].flatMap((topic) =>
        [...driver.output('out')]
          .filter(({ value }) => String(value).includes(`of ${topic}/`))
          .map(({ partition, value }) => `${partition} ${String(value)}`),
      );
    const why = `run again with DRIVER_SEED=${seed}`;
    assert.deepEqual(bySource(stormy), bySource(calm), why);
    assert.equal(stormy.output('dlq').length, calm.output('dlq').length, why);
    for (const partition of [0, 1]) assert.deepEqual(state(stormy, partition), state(calm, partition), why);
    assert.deepEqual(
      [...stormy.storeEntries('counts')].map(([key]) => String(key)).sort(),
      [...calm.storeEntries('counts')].map(([key]) => String(key)).sort(),
      why,
    );
    stormy.restart();
    assert.deepEqual(state(stormy), state(calm), why);
  }
});
