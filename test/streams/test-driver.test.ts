import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { describe, test, type TestContext } from 'node:test';
import fc from 'fast-check';
import {
  errorHeader,
  reject,
  serdes,
  SimulatedCrash,
  StreamsBuilder,
  TopologyTestDriver,
  type CommitStep,
  type DriverInput,
  type OutputRecord,
} from '../../streams/index.ts';
import { headerText } from '../../schemas/raw-record.ts';

const partitions = 3;
const topics = ['a', 'b'];
const steps: readonly CommitStep[] = ['begin', 'outputs', 'changelogs', 'offsets', 'commit', 'foldIn'];

/** Doubles each record, refuses those that say so, and tells where each came from. */
function driverOf(options: { handler?: 'fail' } = {}): TopologyTestDriver {
  const builder = new StreamsBuilder();
  builder
    .stream('raw', topics, { key: serdes.utf8, value: serdes.utf8 })
    .flatMapValues('double', (value) =>
      value?.startsWith('bad') === true ? reject('BAD', 'it says so') : [`${value}/1`, `${value}/2`],
    )
    .to('out', 'out', {
      value: serdes.utf8,
      headers: (_, { topic, offset }) => ({ from: Buffer.from(topic), offset: Buffer.from(`${offset}`) }),
    });
  return new TopologyTestDriver(builder.build(), {
    partitions,
    nowMs: 1_000,
    deadLetterTopic: 'dlq',
    handlers: options.handler === 'fail' ? { processing: () => 'fail' } : {},
  });
}

const input = (topic: string, partition: number, value: string): DriverInput => ({
  topic,
  partition,
  key: Buffer.from(`k${partition}`),
  value: Buffer.from(value),
});

const values = (records: readonly OutputRecord[]): string[] => records.map(({ value }) => String(value));

/** What the records of each raw partition led to, dead letters included, as bytes in order. */
function byRawPartition(driver: TopologyTestDriver): Record<string, string[]> {
  const found: Record<string, string[]> = {};
  for (const { topic, partition, key, value, headers, timestamp } of [
    ...driver.output('out'),
    ...driver.output('dlq'),
  ]) {
    const from = headerText(headers, 'from') ?? headerText(headers, errorHeader.topic) ?? '';
    const told = Object.entries(headers).map(([name, bytes]) => `${name}=${String(bytes)}`);
    (found[`${topic} from ${from}-${partition}`] ??= []).push(
      [key?.toString('hex'), value?.toString('hex'), timestamp, ...told].join(' '),
    );
  }
  return found;
}

/** Processes until nothing is left, over `crashes`, one for each transaction; null lets it commit. */
async function processOver(
  driver: TopologyTestDriver,
  crashes: readonly (CommitStep | null)[],
  limit: number,
): Promise<void> {
  for (const crashAfter of crashes) {
    if (crashAfter === null) await driver.process({ limit });
    else await assert.rejects(driver.process({ limit, crashAfter }), SimulatedCrash);
  }
  while ((await driver.process({ limit })) > 0);
}

/** Runs a property with a seed of this run's own, which FAULT_SEED repeats. */
async function check<T>(t: TestContext, property: fc.IAsyncProperty<T>): Promise<void> {
  const seed = Number(process.env['FAULT_SEED'] ?? randomInt(2 ** 31));
  t.diagnostic(`FAULT_SEED=${seed}`);
  await fc.assert(property, { seed, numRuns: 200 });
}

const inputs = fc
  .array(
    fc.record({
      topic: fc.constantFrom(...topics),
      partition: fc.nat(partitions - 1),
      bad: fc.boolean(),
    }),
    { maxLength: 25 },
  )
  .map((records) =>
    records.map(({ topic, partition, bad }, at) => input(topic, partition, `${bad ? 'bad' : 'good'}${at}`)),
  );

describe('the test driver', () => {
  test('counts offsets per partition and keeps outputs in the partition of their input', async () => {
    const driver = driverOf();
    assert.deepEqual(
      driver.append(input('a', 2, 'x'), input('a', 0, 'y'), input('a', 2, 'z'), input('b', 2, 'w')),
      [0n, 0n, 1n, 0n],
    );
    assert.equal(await driver.process(), 4);
    assert.deepEqual(
      driver.output('out').map(({ partition, value, timestamp }) => [partition, String(value), timestamp]),
      [
        [0, 'y/1', 1_000],
        [0, 'y/2', 1_000],
        [2, 'x/1', 1_000],
        [2, 'x/2', 1_000],
        [2, 'z/1', 1_000],
        [2, 'z/2', 1_000],
        [2, 'w/1', 1_000],
        [2, 'w/2', 1_000],
      ],
    );
    assert.equal(await driver.process(), 0);
  });

  test('stamps an input without timestamp with its clock', async () => {
    const driver = driverOf();
    driver.nowMs = 5_000;
    await driver.pipe(input('a', 0, 'x'));
    await driver.pipe({ ...input('a', 0, 'y'), timestamp: 7 });
    assert.deepEqual(
      driver.output('out').map(({ timestamp }) => timestamp),
      [5_000, 5_000, 7, 7],
    );
  });

  test('takes no more than its limit into one transaction, over all partitions', async () => {
    const driver = driverOf();
    driver.append(
      ...[0, 1, 2].flatMap((partition) => ['x', 'y'].map((value) => input('a', partition, value))),
    );
    assert.equal(await driver.process({ limit: 5 }), 5);
    assert.equal(driver.output('out').length, 10);
    assert.equal(await driver.process({ limit: 5 }), 1);
  });

  test('refuses a partition that it does not have and a topic that the topology does not read', () => {
    assert.throws(() => driverOf().append(input('a', partitions, 'x')), RangeError);
    assert.throws(() => driverOf().append(input('nowhere', 0, 'x')), { code: 'INVARIANT' });
  });

  test('shows nothing of a transaction in which a handler said fail, and does it again', async () => {
    const driver = driverOf({ handler: 'fail' });
    driver.append(input('a', 0, 'good'), input('a', 0, 'bad'));
    await assert.rejects(driver.process(), { code: 'HANDLER_FAILED' });
    assert.deepEqual(driver.output('out'), []);
    assert.equal(await driver.process({ limit: 1 }), 1);
    assert.deepEqual(values(driver.output('out')), ['good/1', 'good/2']);
    await assert.rejects(driver.process(), { code: 'HANDLER_FAILED' });
  });

  for (const step of steps) {
    test(`has each record once after a crash behind the step ${step}`, async () => {
      const driver = driverOf();
      await driver.pipe(input('a', 0, 'before'));
      driver.append(input('a', 0, 'x'), input('b', 1, 'y'), input('b', 1, 'bad'));
      await assert.rejects(driver.process({ crashAfter: step }), SimulatedCrash);
      const committed = step === 'commit' || step === 'foldIn';
      assert.equal(driver.output('out').length, committed ? 6 : 2);
      assert.equal(await driver.process(), committed ? 0 : 3);
      assert.deepEqual(values(driver.output('out')), ['before/1', 'before/2', 'x/1', 'x/2', 'y/1', 'y/2']);
      assert.deepEqual(values(driver.output('dlq')), ['bad']);
    });
  }

  test('has each record once over any schedule of crashes, in the bytes of a run without any', async (t) => {
    const crashes = fc.array(fc.option(fc.constantFrom(...steps)), { maxLength: 12 });
    const limits = fc.integer({ min: 1, max: 9 });
    await check(
      t,
      fc.asyncProperty(inputs, crashes, limits, async (records, schedule, limit) => {
        const calm = driverOf();
        calm.append(...records);
        await calm.process();
        const crashed = driverOf();
        crashed.append(...records);
        await processOver(crashed, schedule, limit);
        assert.deepEqual(byRawPartition(crashed), byRawPartition(calm));
      }),
    );
  });

  test('has the same bytes for each raw partition in whatever order partitions are written and taken', async (t) => {
    // The order within a raw partition stays; which of them is next follows from the picks.
    const picks = fc.array(fc.record({ queue: fc.nat(), process: fc.boolean() }), {
      minLength: 25,
      maxLength: 25,
    });
    await check(
      t,
      fc.asyncProperty(inputs, picks, async (records, order) => {
        const straight = driverOf();
        straight.append(...records);
        await straight.process();
        const mixed = driverOf();
        const queues = topics.flatMap((topic) =>
          Array.from({ length: partitions }, (_, partition) =>
            records.filter((record) => record.topic === topic && record.partition === partition),
          ),
        );
        for (const { queue, process: now } of order) {
          const waiting = queues.filter(({ length }) => length > 0);
          if (waiting.length === 0) break;
          mixed.append(waiting[queue % waiting.length]!.shift()!);
          if (now) await mixed.process();
        }
        while ((await mixed.process()) > 0);
        assert.deepEqual(byRawPartition(mixed), byRawPartition(straight));
      }),
    );
  });
});
