/** What the seeds of the test driver search besides crashes: stalls and time (issue 15, cases 4 and 5). */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import {
  seededRandom,
  serdes,
  StreamsBuilder,
  TopologyTestDriver,
  type DriverInput,
} from '../../streams/index.ts';
import { oneOf } from '../../streams/random.ts';
import { TaskSet } from '../../streams/task-set.ts';

const partitions = 2;
const topics = ['a', 'b'] as const;

/** Counts the records of each topic and key; `bad` ones become dead letters behind the store. */
function driverOf(): TopologyTestDriver {
  const builder = new StreamsBuilder().addStateStore('counts', { key: serdes.utf8, value: serdes.utf8 });
  builder
    .stream('raw', topics, { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'count',
      (value, { topic, key }, { counts }) => {
        const name = `${topic}/${key}`;
        const count = String(Number(counts.get(name) ?? 0) + 1);
        counts.put(name, count);
        if (value?.startsWith('bad') === true) throw new Error('bad');
        return [`${name} ${count} ${value?.length}`, `${value?.slice(0, 9)}`];
      },
      { stores: ['counts'] },
    )
    .to('out', 'out', { value: serdes.utf8, headers: (_, { topic }) => ({ from: topic }) });
  return new TopologyTestDriver(builder.build(), { partitions, nowMs: 1_000, deadLetterTopic: 'dead' });
}

/** Records of all partitions, some so large that a few of them fill a queue. */
function recordsOf(
  random: () => number,
  count: number,
  sizes: readonly [number, ...number[]],
): DriverInput[] {
  return Array.from({ length: count }, (_, at) => ({
    topic: oneOf(random, topics),
    partition: Math.floor(random() * partitions),
    key: Buffer.from(oneOf(random, ['k', 'l'])),
    value: Buffer.from(`${oneOf(random, ['good', 'good', 'bad'])} ${at}`.padEnd(oneOf(random, sizes))),
    timestamp: 1_000 + at,
  }));
}

/** All that was committed, per raw partition in order, headers included; and the state. */
function everything(driver: TopologyTestDriver): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const topic of ['out', 'dead']) {
    for (const { partition, key, value, headers, timestamp } of driver.output(topic)) {
      const told = Object.entries(headers).map(([name, bytes]) => `${name}=${String(bytes)}`);
      const from = String(headers['from'] ?? headers['__streams.errors.topic']);
      (found[`${topic} from ${from}-${partition}`] ??= []).push(
        // The padding of large values is no help in a failure.
        [String(key), value?.length, String(value).trimEnd(), timestamp, ...told].join(' '),
      );
    }
  }
  for (let partition = 0; partition < partitions; partition += 1) {
    found[`state ${partition}`] = driver
      .storeEntries('counts', partition)
      .map(([key, value, timestamp]) => `${String(key)}=${String(value)}@${timestamp}`)
      .sort();
  }
  return found;
}

/** Seeds of this run's own; DRIVER_SEED repeats one. */
function seedsOf(t: TestContext, count: number): number[] {
  const only = process.env['DRIVER_SEED'];
  const first = randomInt(2 ** 31);
  const seeds = only === undefined ? Array.from({ length: count }, (_, at) => first + at) : [Number(only)];
  t.diagnostic(`DRIVER_SEED=${seeds[0]} to ${seeds.at(-1)}`);
  return seeds;
}

/** Processes more than the queues hold, in two waves, over crashes and failures; rejects when a partition stands still. */
async function processBacklog(seed: number): Promise<void> {
  const random = seededRandom(seed);
  const driver = driverOf();
  for (const wave of [0, 1]) {
    const records = recordsOf(random, 40, [10, 10, 20_000, 70_000]);
    driver.append(...records);
    await driver.processRandomly(seed + wave);
    assert.equal(await driver.process(), 0);
  }
  const results = driver.output('out').length / 2 + driver.output('dead').length;
  assert.equal(results, 80, `run again with DRIVER_SEED=${seed}`);
}

describe('stalls are searched', () => {
  test('no partition is left with waiting records, over any schedule of answers, full queues and crashes', async (t) => {
    for (const seed of seedsOf(t, 60)) await processBacklog(seed);
  });

  test('a task set that forgets a partition whose queue was full is found, and the partition named', async (t) => {
    const wanted = Object.getOwnPropertyDescriptor(TaskSet.prototype, 'wanted')?.value as TaskSet['wanted'];
    const full = new WeakMap<TaskSet, Set<string>>();
    t.mock.method(TaskSet.prototype, 'wanted', function (this: TaskSet) {
      const answer = wanted.call(this);
      const names = new Set(answer.positions.map(({ topic, partition }) => `${topic}-${partition}`));
      const forgotten = full.get(this) ?? new Set();
      full.set(this, forgotten);
      for (const task of this)
        for (const { topic } of task.positions())
          if (!names.has(`${topic}-${task.partition}`)) forgotten.add(`${topic}-${task.partition}`);
      const positions = answer.positions.filter(
        ({ topic, partition }) => !forgotten.has(`${topic}-${partition}`),
      );
      return { ...answer, positions };
    });
    const failures: string[] = [];
    const seeds = seedsOf(t, 20);
    for (const seed of seeds)
      await processBacklog(seed).catch((error: unknown) => failures.push(String(error)));
    t.diagnostic(`found by ${failures.length} of ${seeds.length} seeds`);
    assert.ok(failures.length > 0);
    for (const message of failures)
      assert.match(message, / [ab]-[01] stands still: no task takes offset \d+$/);
  });
});

describe('time never changes an output', () => {
  test('the same log gives the same bytes, however early chunks and transactions end', async (t) => {
    for (const seed of seedsOf(t, 40)) {
      const random = seededRandom(seed);
      const records = recordsOf(random, 400, [10, 10, 10, 3_000]);
      const [quick, slow] = [driverOf(), driverOf()];
      for (const driver of [quick, slow]) driver.append(...records);
      await quick.process();
      // From milliseconds to records of several seconds, in the same run.
      const elapsedMs = (): number => oneOf(random, [0, 1, 15, 90, 7_000]) * random();
      await (random() < 0.5 ? slow.process({ elapsedMs }) : processIn(slow, { random, elapsedMs }));
      assert.deepEqual(everything(slow), everything(quick), `run again with DRIVER_SEED=${seed}`);
    }
  });

  test('records that take seconds are committed one look at the clock at a time, and others together', async () => {
    const records = Array.from({ length: 300 }, () => ({
      topic: 'a',
      key: Buffer.from('k'),
      value: Buffer.from('v'),
    }));
    const transactions = async (mostMs: number): Promise<number> => {
      const driver = driverOf();
      driver.append(...records);
      assert.equal(await driver.process({ elapsedMs: () => mostMs }), records.length);
      // The changelog has one record per key and transaction.
      return driver.output('test-driver-counts-changelog').length;
    };
    assert.deepEqual(
      [await transactions(0), await transactions(15), await transactions(5_000)],
      [1, 2, Math.ceil(records.length / 64)],
    );
  });
});

async function processIn(
  driver: TopologyTestDriver,
  options: { random: () => number; elapsedMs: () => number },
): Promise<void> {
  while ((await driver.process(options)) > 0);
}
