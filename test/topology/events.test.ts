import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { contentHash, outcomeHash, toEvent, type Version } from '../../topology/events.ts';
import { eventHeaders, buildId } from '../../topology/headers.ts';
import { nameUuid } from '../../topology/identity.ts';
import type { Reading } from '../../vendors/reading.ts';
import type { Headers as RawHeaders } from '../../streams/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { anEvent } from '../schemas/events.ts';
import { aReading, rawRecord, readingRecord, ReadingsDriver, receivedAt } from './support.ts';

const reading = aReading({ hrv: 20, timestamp: receivedAt - 5_000 });
const hourMs = 3_600_000;

function make(changes: Partial<Reading> = {}, version: Partial<Version> = {}): BiometricEvent {
  const changed = { ...reading, ...changes };
  const content = contentHash(changed);
  return toEvent(
    changed,
    {
      vendor: 'oura',
      receivedAt,
      appendedAt: receivedAt,
      revision: 1,
      content,
      supersedes: null,
      generation: 0,
      ...version,
    },
    rawRecord('oura'),
  );
}

test('an event names the raw record it came from, when it was received, and what it supersedes', () => {
  const supersedes = { event_id: 'before', priority: 'HIGH', alert_ids: [] } as const;
  const event = make({}, { vendor: 'whoop', revision: 5, supersedes });
  assert.equal(event.device_type, 'whoop');
  assert.equal(event.received_at, receivedAt);
  assert.equal(event.revision, 5);
  assert.deepEqual(event.raw, { topic: 'raw.oura', partition: 2, offset: 17 });
  assert.deepEqual(event.supersedes, supersedes);
  assert.deepEqual([event.triggers, event.priority, event.baseline], [[], 'NORMAL', null]);
});

test('a record of another producer has the timestamp of the log as its time of receipt', async () => {
  const bridge = new ReadingsDriver();
  await bridge.pipe({ ...readingRecord(reading), headers: {}, timestamp: 123 });
  assert.equal(bridge.events()[0]!.received_at, 123);
});

test('the event id is the same for the same version, and different for any other', () => {
  const ids = [
    make(),
    make({ hrv: 21 }),
    make({ user_id: 'v' }),
    make({ resource_id: 's' }),
    make({ deleted: true }),
    make({}, { revision: 2 }),
    make({}, { vendor: 'whoop' }),
  ].map(({ event_id }) => event_id);
  assert.equal(new Set(ids).size, ids.length);
  const again = make(
    {},
    { receivedAt: 1, supersedes: { event_id: 'before', priority: 'HIGH', alert_ids: [] } },
  );
  assert.equal(again.event_id, ids[0]);
});

test('the content hash is that of the JSON of the hashed fields, for any numbers and texts', () => {
  const number = fc.option(fc.oneof(fc.double({ noNaN: true }), fc.integer(), fc.constant(-0)));
  const rounded = (value: number | null): number | null =>
    value === null ? null : Math.round(value * 1e3) / 1e3;
  const readings = fc.record({
    hrv: number,
    resting_heart_rate: number,
    activity_data: fc.dictionary(
      fc.constantFrom('steps', 'distance_m', 'strain'),
      fc.double({ noNaN: true }),
    ),
    source: fc.string({ unit: 'grapheme' }),
    local_date: fc.option(fc.string()),
    flags: fc.array(fc.string(), { maxLength: 3 }),
  });
  fc.assert(
    fc.property(readings, (changes) => {
      const changed = { ...reading, ...changes };
      const { hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate } = changed;
      const json = JSON.stringify([
        [hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate].map(rounded),
        Object.entries(changed.activity_data)
          .sort(([a], [b]) => (a < b ? -1 : 1))
          .map(([metric, value]) => [metric, rounded(value)]),
        changed.timestamp,
        changed.local_date,
        changed.source,
        [...changed.flags].sort(),
      ]);
      assert.equal(contentHash(changed), createHash('sha256').update(json).digest('hex'));
    }),
  );
});

test('the content hash covers what was measured, and not when it arrived', () => {
  const hash = (changes: Partial<Reading>): string => contentHash({ ...reading, ...changes });
  for (const changes of [
    { hrv: 20.001 },
    { timestamp: 1 },
    { local_date: '2025-07-30' },
    { source: 'other' },
    { flags: ['calibrating'] },
    { activity_data: { steps: 0 } },
    { deleted: true },
  ] satisfies Partial<Reading>[]) {
    assert.notEqual(hash(changes), hash({}), JSON.stringify(changes));
  }
  for (const changes of [
    { revision: 7 },
    { hrv: 20.0001 },
    { user_id: 'v' },
    { resource_id: 's' },
  ] satisfies Partial<Reading>[]) {
    assert.equal(hash(changes), hash({}), JSON.stringify(changes));
  }
  assert.equal(hash({ deleted: true, hrv: 1, timestamp: 1 }), hash({ deleted: true }));
  assert.equal(hash({ activity_data: { a: 1, b: 2 } }), hash({ activity_data: { b: 2, a: 1 } }));
});

for (const [age, flags] of [
  [48 * hourMs, []],
  [48 * hourMs + 1, ['stale']],
  [-24 * hourMs, []],
  [-24 * hourMs - 1, ['future_timestamp']],
  [400 * 24 * hourMs, ['stale']],
  [-3 * 24 * hourMs, ['future_timestamp']],
] as const) {
  test(`a measurement ${age / hourMs} h old is flagged ${flags.join() || 'not at all'}`, () => {
    assert.deepEqual(make({ timestamp: receivedAt - age }).flags, flags);
  });
}

test('a retried dead letter is as stale as its measurement is when it is appended again', async () => {
  const flagsOf = async (retriedAt?: number): Promise<readonly string[]> =>
    (await new ReadingsDriver().event(reading, retriedAt === undefined ? {} : { retriedAt })).flags;
  assert.deepEqual(await flagsOf(), []);
  assert.deepEqual(await flagsOf(reading.timestamp + 48 * hourMs), []);
  assert.deepEqual(await flagsOf(reading.timestamp + 48 * hourMs + 1), ['stale']);
});

test('without a readable time of its retry, a dead letter counts as appended when it was received', async () => {
  const bridge = new ReadingsDriver();
  const { headers, ...record } = readingRecord(reading, { retriedAt: receivedAt });
  await bridge.pipe({ ...record, headers: { ...headers, retried_at: Buffer.from('soon') } });
  assert.deepEqual(bridge.events()[0]!.flags, []);
});

test('names are length-prefixed, so that parts cannot run into each other', () => {
  assert.notEqual(nameUuid('ab', 'c'), nameUuid('a', 'bc'));
  assert.equal(nameUuid('ab', 'c'), nameUuid('ab', 'c'));
});

test('an event has exactly these headers', () => {
  const event = anEvent({ user_id: 'athlete-42 å', generation: 3 });
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const headers = eventHeaders('b1')(event, rawRecord('oura', { traceparent }));
  const text = Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
  assert.deepEqual(text, {
    priority: 'HIGH',
    user_id: 'athlete-42 å',
    device_type: 'oura',
    triggers: JSON.stringify({ triggers: event.triggers }),
    event_id: event.event_id,
    measured_at: String(event.timestamp),
    build: 'b1',
    generation: '3',
    traceparent,
  });
  const calm = eventHeaders('b1')({ ...event, triggers: [] }, rawRecord('oura'));
  assert.equal(String(calm['triggers']), '{"triggers":[]}');
});

test('an event carries the last traceparent of its raw record, and none that the ingress would not have kept', () => {
  const carried = (value: RawHeaders[string] | undefined): unknown => {
    const headers = value === undefined ? {} : { traceparent: value };
    return eventHeaders('b1')(anEvent(), { headers })['traceparent'];
  };
  const [first, last] = [Buffer.from('00-1'), Buffer.from('00-2')];
  assert.equal(carried(first), first);
  assert.equal(carried([first, last]), last);
  const [long, longest] = [1_025, 1_024].map((bytes) => Buffer.alloc(bytes, 'a'));
  assert.equal(carried(longest), longest);
  for (const none of [undefined, null, [], [first, null], long!]) assert.equal(carried(none), undefined);
});

test('an outcome changes with content, triggers and priority, and with nothing else of an event', () => {
  const content = '00112233445566aa';
  const event = anEvent();
  const [trigger] = event.triggers;
  const outcomes = [
    outcomeHash(content, event),
    outcomeHash('00112233445566ab', event),
    outcomeHash(content, { ...event, priority: 'NORMAL' }),
    outcomeHash(content, { ...event, triggers: [] }),
    outcomeHash(content, { ...event, triggers: [...event.triggers, trigger!] }),
    ...(['type', 'severity', 'metric', 'recommendation', 'alert_id'] as const).map((field) =>
      outcomeHash(content, { ...event, triggers: [{ ...trigger!, [field]: 'other' }] }),
    ),
    ...(['value', 'threshold'] as const).map((field) =>
      outcomeHash(content, { ...event, triggers: [{ ...trigger!, [field]: trigger![field] + 0.001 }] }),
    ),
  ];
  assert.equal(new Set(outcomes).size, outcomes.length);
  assert.ok(outcomes.every((outcome) => /^[0-9a-f]{16}$/.test(outcome)));
  const same: Partial<BiometricEvent>[] = [
    { triggers: event.triggers.map((one) => ({ ...one, first: !one.first })) },
    { triggers: event.triggers.map((one) => ({ ...one, value: one.value + 0.0001 })) },
    { baseline: { hrv_mean: 1, hrv_sd: 1, nights: 1 } },
    { event_id: 'other', revision: 1, generation: 2, received_at: 1, flags: ['stale'] },
    { supersedes: { event_id: 'before', priority: 'HIGH', alert_ids: [] } },
  ];
  for (const changes of same) assert.equal(outcomeHash(content, { ...event, ...changes }), outcomes[0]);
  assert.equal(outcomeHash(content, { ...event, triggers: [], priority: 'NORMAL' }), content);
});

test('the build names code, rules and schema together', () => {
  const build = (changes: Partial<Parameters<typeof buildId>[0]>): string =>
    buildId({ version: '1', rules: defaultRules, schemaId: 1, ...changes });
  assert.equal(build({}), build({}));
  assert.equal(
    new Set([build({}), build({ version: '2' }), build({ rules: [] }), build({ schemaId: 2 })]).size,
    4,
  );
});
