import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import fc from 'fast-check';
import { avroType } from '../../schemas/avro.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { biometrics } from '../../topology/biometrics.ts';
import {
  describe,
  errorHeader,
  SerdeError,
  TopologyTestDriver,
  writeOnly,
  type DriverInput,
} from '../../streams/index.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { vendorNames } from '../../vendors/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { dayMs, receivedAt, superseded, topics } from './support.ts';

const encode = createEncoder(7);
const { decode, prepare } = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
await prepare(7);

function driver(partitions = 1): TopologyTestDriver {
  const topology = biometrics({ topics, rules: defaultRules, biometricEvent: writeOnly(encode), build: 'b' });
  return new TopologyTestDriver(topology, {
    partitions,
    nowMs: receivedAt,
    deadLetterTopic: topics.deadLetters,
    topics: topicSpecs(topics),
  });
}

const outputs = [...Object.values(topics.priority), topics.deadLetters];

function body(changes: object = {}): Buffer {
  return Buffer.from(
    JSON.stringify({ user_id: 'u', timestamp: '2025-07-30T12:00:00Z', hrv_data: { rmssd: 20 }, ...changes }),
  );
}

test('a reading with a low HRV is written to the topic of its priority, in the partition of its raw record', async () => {
  const bridge = driver(3);
  await bridge.pipe({ topic: topics.raw.oura, partition: 2, key: Buffer.from('u'), value: body() });
  const [record, ...rest] = bridge.output(topics.priority.HIGH);
  assert.equal(rest.length, 0);
  assert.equal(record!.partition, 2);
  assert.equal(record!.timestamp, receivedAt);
  assert.equal(record!.key!.toString(), 'u');
  const event: BiometricEvent = decode(record!.value!);
  assert.equal(event.priority, 'HIGH');
  assert.equal(event.hrv, 20);
  assert.deepEqual(event.raw, { topic: 'raw.oura', partition: 2, offset: 0 });
  assert.equal(record!.headers['event_id']!.toString(), event.event_id);
});

for (const [hrv, topic] of [
  [20, topics.priority.HIGH],
  [30, topics.priority.MEDIUM],
  [50, topics.priority.NORMAL],
] as const) {
  test(`an HRV of ${hrv} goes to ${topic} and nowhere else`, async () => {
    const bridge = driver();
    await bridge.pipe({ topic: topics.raw.whoop, value: body({ hrv_data: { rmssd: hrv } }) });
    assert.deepEqual(
      outputs.filter((name) => bridge.output(name).length > 0),
      [topic],
    );
  });
}

test('a body that is not JSON is dead-lettered unchanged, with the byte position and no quotation', async () => {
  const bridge = driver();
  const value = Buffer.from('{"user_id":"planted-value",');
  await bridge.pipe({
    topic: topics.raw.terra,
    key: Buffer.from('k'),
    value,
    headers: { received_at: Buffer.from('5') },
  });
  const [letter] = bridge.output(topics.deadLetters);
  assert.deepEqual(letter!.value, value);
  assert.equal(letter!.key!.toString(), 'k');
  const text = Object.fromEntries(
    Object.entries(letter!.headers).map(([name, bytes]) => [name, String(bytes)]),
  );
  assert.equal(text['received_at'], '5');
  assert.equal(text[errorHeader.exception], 'NOT_JSON');
  assert.equal(text[errorHeader.message], 'the body stops being JSON at byte 27 of 27');
  assert.equal(text[errorHeader.topic], 'raw.terra');
  assert.equal(text[errorHeader.partition], '0');
  assert.equal(text[errorHeader.offset], '0');
  assert.equal(text[errorHeader.node], 'raw');
  assert.ok(!JSON.stringify(text).includes('planted'));
});

test('a record without a value is dead-lettered', async () => {
  const bridge = driver();
  await bridge.pipe({ topic: topics.raw.terra, value: null });
  assert.equal(String(bridge.output(topics.deadLetters)[0]!.headers[errorHeader.exception]), 'EMPTY_BODY');
});

test('drops produce no record, only a count', async () => {
  const bridge = driver();
  await bridge.pipe({ topic: topics.raw.terra, value: Buffer.from('{"type":"deauth"}') });
  assert.deepEqual(
    outputs.flatMap((topic) => bridge.output(topic)),
    [],
  );
  assert.deepEqual([...bridge.dropped], [['normalize/control', 1]]);
});

test('a vendor’s retry is dropped, and a correction supersedes what it corrects', async () => {
  const bridge = driver();
  const send = (value: Buffer) => bridge.pipe({ topic: topics.raw.oura, value });
  await send(body());
  await send(body());
  bridge.nowMs += 1;
  await send(body());
  await send(body({ hrv_data: { rmssd: 50 } }));
  assert.deepEqual([...bridge.dropped], [['newest-revision/unchanged', 2]]);
  const [urgent] = bridge.output(topics.priority.HIGH).map(({ value }) => decode(value!));
  const [corrected] = bridge.output(topics.priority.NORMAL).map(({ value }) => decode(value!));
  assert.equal(urgent!.triggers.length, 1);
  assert.deepEqual(corrected!.supersedes, superseded(urgent!));
  assert.equal(urgent!.triggers[0]!.first, true);
});

test('a record whose event cannot be written leaves no trace in the stores', async () => {
  const topology = biometrics({
    topics,
    rules: defaultRules,
    biometricEvent: writeOnly(() => {
      throw new SerdeError('NOT_ENCODABLE', 'refused');
    }),
    build: 'b',
  });
  const bridge = new TopologyTestDriver(topology, {
    nowMs: receivedAt,
    deadLetterTopic: topics.deadLetters,
    topics: topicSpecs(topics),
  });
  await bridge.pipe({ topic: topics.raw.oura, value: body() });
  assert.equal(bridge.output(topics.deadLetters).length, 1);
  for (const store of ['points', 'revisions', 'baselines', 'alerts'])
    assert.deepEqual(bridge.storeEntries(store), []);
});

/** Thirty days of two users on two devices: each day's reading, a correction of it, a retry of that, and a late one. */
const month = Array.from({ length: 480 }, (_, at): DriverInput => {
  const [day, version] = [Math.floor(at / 16), Math.floor(at / 4) % 4];
  const user_id = at % 2 === 0 ? 'u' : 'v';
  const timestamp = new Date(receivedAt + (version === 3 ? Math.max(0, day - 3) : day) * dayMs).toISOString();
  const rmssd = 20 + ((day * 7 + Math.min(version, 1)) % 50);
  return {
    topic: at % 4 < 2 ? topics.raw.oura : topics.raw.whoop,
    timestamp: receivedAt + day * dayMs + version * 60_000,
    value: body({ user_id, timestamp, hrv_data: { rmssd } }),
  };
});

test('the same logs yield the same events and state, in any order of topics and wherever the process dies', async () => {
  const run = async (seed?: number): Promise<string[]> => {
    const bridge = driver();
    bridge.append(...month);
    bridge.nowMs = receivedAt + 31 * dayMs;
    await (seed === undefined ? bridge.process() : bridge.processRandomly(seed));
    const events = Object.values(topics.priority)
      .flatMap((topic) => bridge.output(topic))
      .map(({ topic, value }) => `${topic} ${value!.toString('hex')}`);
    const state = ['points', 'revisions', 'baselines', 'alerts']
      .flatMap((store) => bridge.storeEntries(store))
      .map(([key, value, at]) => `${key.toString('hex')} ${value.toString('hex')} ${at}`);
    return [...events, ...state].sort();
  };
  const expected = await run();
  assert.ok(expected.length > 300);
  for (let seed = 1; seed <= 20; seed += 1) {
    assert.ok(isDeepStrictEqual(await run(seed), expected), `seed ${seed} leads elsewhere`);
  }
});

test('the topology is wired as it reads', () => {
  const topology = biometrics({ topics, rules: defaultRules, biometricEvent: writeOnly(encode), build: 'b' });
  assert.equal(
    describe(topology, 'text'),
    `Topologies:
   Sub-topology: 0
    Source: raw (topics: [${vendorNames.map((device) => `raw.${device}`).join(', ')}])
      --> normalize
    Processor: normalize (flatMapValues, stores: [])
      --> daily-totals
      <-- raw
    Processor: daily-totals (processValues, stores: [points])
      --> newest-revision
      <-- normalize
    Processor: newest-revision (processValues, stores: [revisions])
      --> baseline
      <-- daily-totals
    Processor: baseline (processValues, stores: [baselines])
      --> triggers
      <-- newest-revision
    Processor: triggers (mapValues, stores: [])
      --> alerts
      <-- baseline
    Processor: alerts (processValues, stores: [alerts, revisions])
      --> route
      <-- triggers
    Sink: route (topics: [biometric-events.high, biometric-events.medium, biometric-events.normal])
      <-- alerts
`,
  );
});

const planted = 'planted-7c1e';
const anyJson = fc.jsonValue({ maxDepth: 4 });
/** Any JSON, and JSON that looks much like what the normalizers know. */
const payload = fc.oneof(
  anyJson,
  fc.record(
    {
      user_id: fc.oneof(fc.constant(planted), fc.integer(), anyJson),
      user: fc.oneof(fc.record({ user_id: fc.string(), reference_id: anyJson }), anyJson),
      timestamp: fc.oneof(
        fc.date({ noInvalidDate: true }).map((date) => date.toISOString()),
        fc.integer(),
        anyJson,
      ),
      ts: fc.oneof(fc.constant(1_753_876_800), anyJson),
      hrv_data: fc.oneof(fc.record({ rmssd: fc.oneof(fc.double(), anyJson) }), anyJson),
      heart_rate_data: fc.record({ hrv: fc.oneof(fc.double(), anyJson) }),
      sleep: fc.oneof(fc.record({ score: fc.oneof(fc.integer({ min: -5, max: 105 }), anyJson) }), anyJson),
      activity_data: fc.oneof(fc.dictionary(fc.string(), fc.double()), anyJson),
      note: fc.constant(planted),
    },
    { requiredKeys: [] },
  ),
);

test('any JSON on any route yields a valid event, a drop or a dead letter, the same on every run and never quoted', async () => {
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...vendorNames), payload, async (device, value) => {
      const record: DriverInput = { topic: topics.raw[device], value: Buffer.from(JSON.stringify(value)) };
      const [one, other] = [driver(), driver()];
      await one.pipe(record);
      await other.pipe(record);
      for (const topic of outputs) assert.deepEqual(one.output(topic), other.output(topic));
      const events = Object.values(topics.priority).flatMap((topic) => one.output(topic));
      const dead = one.output(topics.deadLetters);
      for (const event of events) decode(event.value!);
      assert.equal(
        events.length + dead.length + [...one.dropped.values()].reduce((sum, count) => sum + count, 0),
        1,
      );
      for (const { headers } of dead) {
        assert.notEqual(String(headers[errorHeader.exception]), 'OPERATOR_FAILED');
        for (const [name, bytes] of Object.entries(headers))
          assert.ok(!String(bytes).includes(planted), name);
      }
    }),
    { numRuns: 1_000 },
  );
});
