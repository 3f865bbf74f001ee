import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { changelogConfig } from '../../streams/changelogs.ts';
import { encodedBatchBytes } from '../../streams/memory-log.ts';
import { recordBytes, type OutputRecord } from '../../streams/record.ts';
import {
  errorHeader,
  serdes,
  StreamsBuilder,
  TopologyTestDriver,
  type Headers,
  type OutputHeaders,
} from '../../streams/index.ts';
import { headerText } from '../../schemas/raw-record.ts';
import { encodeBatch } from '../patches/record-batch.ts';

const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');
const hourMs = 3_600_000;
const now = 1_763_942_400_000;

type DriverOptions = NonNullable<ConstructorParameters<typeof TopologyTestDriver>[1]>;

/** A copy from `in` to `out`; `change` is what the sink writes. */
function copying(options: DriverOptions = {}, change: (text: string) => OutputHeaders = () => ({})) {
  const builder = new StreamsBuilder();
  builder
    .stream('raw', 'in', { key: serdes.utf8, value: serdes.utf8 })
    .mapValues('grow', (value) => (/^\d+$/.test(value ?? '') ? 'x'.repeat(Number(value)) : value))
    .to('out', 'out', { value: serdes.utf8, headers: (value) => change(value ?? '') });
  return new TopologyTestDriver(builder.build(), { deadLetterTopic: 'dead', nowMs: now, ...options });
}

/** The dead letters as `offset CODE`. */
function refused(driver: TopologyTestDriver): string[] {
  return driver
    .output('dead')
    .map(
      ({ headers }) =>
        `${headerText(headers, errorHeader.offset)} ${headerText(headers, errorHeader.exception)}`,
    );
}

const outputs = (driver: TopologyTestDriver): string[] =>
  driver.output('out').map(({ value }) => String(value));

describe('the test driver refuses what a broker refuses', () => {
  test('an output that is larger than its topic takes, by the settings of the topic or the default of Kafka', async () => {
    const topics = [{ name: 'out', config: { 'max.message.bytes': '1000' } }];
    for (const [driver, fits] of [
      [copying({ topics }), 900],
      [copying(), 1_048_000],
    ] as const) {
      driver.append(
        ...['a', String(fits), String(fits + 600), 'b'].map((text) => ({ topic: 'in', value: bytes(text) })),
      );
      assert.equal(await driver.process(), 4);
      assert.deepEqual(outputs(driver), ['a', 'x'.repeat(fits), 'b']);
      assert.deepEqual(refused(driver), ['2 MESSAGE_TOO_LARGE']);
    }
  });

  test('a timestamp more than an hour ahead of the clock, unless the topic takes it', async () => {
    const ahead = [{ name: 'dead', config: { 'message.timestamp.after.max.ms': '9223372036854775807' } }];
    const times = [0, now + hourMs, now + hourMs + 1, now];
    const driver = copying({ topics: ahead });
    driver.append(...times.map((timestamp) => ({ topic: 'in', value: bytes('v'), timestamp })));
    await driver.process();
    assert.deepEqual(refused(driver), ['2 INVALID_TIMESTAMP']);
    assert.equal(driver.output('dead')[0]?.timestamp, times[2]);
    // A dead-letter topic as strict as the others takes the smallest dead letter only.
    const strict = copying();
    strict.append(...times.map((timestamp) => ({ topic: 'in', value: bytes('v'), timestamp })));
    await strict.process();
    const [letter] = strict.output('dead');
    assert.deepEqual([letter?.timestamp, letter?.value], [now, null]);
    assert.equal(outputs(strict).length, 3);
  });

  test('a record without a key in a compacted topic', async () => {
    const driver = copying({ topics: [{ name: 'out', config: { 'cleanup.policy': 'compact,delete' } }] });
    driver.append({ topic: 'in', value: bytes('a') }, { topic: 'in', key: bytes('k'), value: bytes('b') });
    await driver.process();
    assert.deepEqual([outputs(driver), refused(driver)], [['b'], ['0 INVALID_RECORD']]);
  });

  test('what no client can encode', async () => {
    const odd: Record<string, unknown> = {
      number: { n: 1 },
      undefined: { u: undefined },
      mixed: { m: [bytes('x'), 1] },
      set: { s: new Set() },
    };
    const driver = copying({}, (text) => (odd[text] ?? {}) as OutputHeaders);
    const texts = [...Object.keys(odd), 'good'];
    driver.append(...texts.map((text) => ({ topic: 'in', value: bytes(text) })));
    await driver.process();
    assert.deepEqual(outputs(driver), ['good']);
    assert.deepEqual(
      refused(driver),
      Object.keys(odd).map((_, at) => `${at} INVALID_RECORD`),
    );
    const unclean = copying();
    unclean.append({ topic: 'in', value: bytes('a'), timestamp: NaN });
    await unclean.process();
    assert.deepEqual(refused(unclean), ['0 INVALID_TIMESTAMP']);
  });

  test('a store entry that is larger than its changelog takes, and leaves nothing of the record', async () => {
    const driver = appending(2_000);
    driver.append(...['a', 'b'.repeat(3_000), 'c'].map((text) => ({ topic: 'in', value: bytes(text) })));
    await driver.process();
    assert.deepEqual([outputs(driver), refused(driver)], [['1', '2'], ['1 MESSAGE_TOO_LARGE']]);
    assert.deepEqual(
      driver.storeEntries('texts').map(([, value]) => String(value)),
      ['ac'],
    );
    driver.restart();
    assert.equal(driver.storeEntries('texts').length, 1);
  });

  test('and ends, as an instance does, when it refuses even the smallest dead letter', async () => {
    const topics = ['out', 'dead'].map((name) => ({ name, config: { 'max.message.bytes': '200' } }));
    const driver = copying({ topics });
    driver.append({ topic: 'in', value: bytes('500') });
    await assert.rejects(driver.process(), {
      code: 'HANDLER_FAILED',
      message: /dead letter of in-0 offset 0/,
    });
  });
});

/** Appends each value to an entry, and sends its length; `limit` is that of the changelog and of a wide output. */
function appending(limit: number): TopologyTestDriver {
  const builder = new StreamsBuilder().addStateStore('texts', { key: serdes.utf8, value: serdes.utf8 });
  builder
    .stream('raw', ['in', 'more'], { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'append',
      (value, { key }, { texts }) => {
        const all = `${texts.get(key ?? '') ?? ''}${value}`;
        texts.put(key ?? '', all);
        return [String(all.length), ...(value?.startsWith('wide') ? [all] : [])];
      },
      { stores: ['texts'] },
    )
    .to('out', 'out', { value: serdes.utf8 });
  const config = { ...changelogConfig, 'max.message.bytes': String(limit) };
  return new TopologyTestDriver(builder.build(), {
    deadLetterTopic: 'dead',
    nowMs: now,
    partitions: 2,
    topics: [
      { name: 'test-driver-texts-changelog', config },
      { name: 'out', config: { 'max.message.bytes': String(limit - 500) } },
    ],
  });
}

test('which records are refused depends on no transaction, crash or interleaving of partitions', async () => {
  const piece = fc.tuple(
    fc.constantFrom('k', 'l'),
    fc.nat(1),
    fc.oneof(
      fc.constant('a'),
      fc.constant('wide'),
      fc.nat(2_500).map((size) => 'b'.repeat(size)),
    ),
    fc.constantFrom(0, 0, 0, 2 * hourMs),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 25 }), fc.nat(), async (pieces, seed) => {
      const inputs = pieces.map(([key, partition, text, ahead]) => ({
        topic: 'in',
        partition,
        key: bytes(key),
        value: bytes(text),
        timestamp: now + ahead,
      }));
      const [calm, single, stormy] = [appending(2_000), appending(2_000), appending(2_000)];
      calm.append(...inputs);
      await calm.process();
      for (const input of inputs) await single.pipe(input);
      stormy.append(...inputs);
      await stormy.processRandomly(seed);
      for (const other of [single, stormy]) {
        assert.deepEqual(refused(other), refused(calm));
        assert.deepEqual(outputs(other), outputs(calm));
        for (const partition of [0, 1]) assert.deepEqual(sorted(other, partition), sorted(calm, partition));
      }
    }),
  );
});

function sorted(driver: TopologyTestDriver, partition: number): string[] {
  return driver
    .storeEntries('texts', partition)
    .map(([key, value, timestamp]) => `${String(key)}=${String(value)}@${timestamp}`)
    .sort();
}

test('the size of a record is that of its batch, byte by byte, and the estimate is never below it', async () => {
  const some = fc.option(fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array)));
  const header = fc.oneof(
    some,
    fc.string({ unit: 'binary', maxLength: 80 }),
    fc.array(some, { maxLength: 3 }),
  );
  const record = fc.record({
    key: some,
    value: fc.oneof(
      some,
      fc.constantFrom(100, 8_000, 70_000).map((size) => Buffer.alloc(size)),
    ),
    headers: fc.dictionary(fc.string({ unit: 'binary', maxLength: 80 }), header, { maxKeys: 70 }),
  });
  await fc.assert(
    fc.asyncProperty(record, async ({ key, value, headers }) => {
      const output: OutputRecord = { topic: 't', partition: 0, timestamp: now, key, value, headers };
      const list = Object.entries(headers).flatMap(([name, one]) =>
        (Array.isArray(one) ? one : [one]).map((each) => [name, each] as const),
      );
      const batch = await encodeBatch({
        firstTimestamp: BigInt(now),
        records: [{ offsetDelta: 0, timestampDelta: 0n, key, value, headers: list }],
      });
      assert.equal(encodedBatchBytes(output), batch.length);
      assert.ok(recordBytes(output) >= batch.length);
    }),
  );
});

test('the headers of committed records are those of a log', async () => {
  const headers: OutputHeaders = { text: 'é', none: null, several: [bytes('a'), null] };
  const driver = copying({}, () => headers);
  await driver.pipe({ topic: 'in', value: bytes('v') });
  const written: Headers = { ...headers, text: bytes('é') };
  assert.deepEqual(driver.output('out')[0]?.headers, written);
});
