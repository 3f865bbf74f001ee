import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { collectorScheme, rawHeader } from '../../schemas/raw-record.ts';
import { vendorNames } from '../../vendors/index.ts';
import { goldenCases, goldenReceivedAt, goldenRecord, outcomeOf } from '../topology/golden.ts';

const planted = 'planted-51c2';
const code = /^[A-Z_]+: /;

/** Whatever a payload is: events that the contract takes (they were decoded from its bytes), drops, or a coded dead letter. */
async function behaves(
  device: (typeof vendorNames)[number],
  payload: unknown,
  headers: Record<string, string>,
): Promise<void> {
  const record = goldenRecord(device, JSON.stringify(payload), headers);
  const [one, other] = [await outcomeOf([record]), await outcomeOf([record])];
  assert.deepEqual(one, other);
  const drops = Object.values(one.dropped).reduce((sum, count) => sum + count, 0);
  assert.ok(one.events.length + one.deadLetters.length + drops > 0, 'it left no trace');
  const isPartly = one.deadLetters.every((letter) => letter.startsWith('PARTLY_UNREADABLE: '));
  assert.ok(one.events.length === 0 || isPartly, 'events of a record that was refused whole');
  for (const letter of one.deadLetters) {
    assert.match(letter, code);
    assert.doesNotMatch(letter, /^OPERATOR_FAILED|^NOT_ENCODABLE/);
    assert.ok(!letter.includes(planted), letter);
  }
  const resources = one.events.map(({ event }) => event.resource_id);
  assert.equal(new Set(resources).size, resources.length, 'two versions of a resource in one raw record');
  for (const { event, topic } of one.events) {
    assert.ok(topic.endsWith(event.priority.toLowerCase()));
    assert.ok(event.revision > 0);
    for (const score of [event.sleep_score, event.recovery_score, event.stress_level])
      assert.ok(score === null || (score >= 0 && score <= 100));
    for (const hrv of [event.hrv, event.hrv_sdnn]) assert.ok(hrv === null || (hrv >= 1 && hrv <= 400));
    for (const value of Object.values(event.activity_data)) assert.ok(value >= 0 && Number.isFinite(value));
    if (event.flags.includes('nap')) assert.equal(event.sleep_score, null);
    if (event.deleted) {
      const { hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate } = event;
      const values = [hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate];
      assert.ok(values.every((value) => value === null) && Object.keys(event.activity_data).length === 0);
      assert.equal(event.priority, 'NORMAL');
    }
    assert.ok(event.local_date === null || /^\d{4}-\d\d-\d\d$/.test(event.local_date));
  }
}

/** Mostly what the vendors' formats are made of, so that a change is near enough to be read. */
const scrap = fc.oneof(
  fc.constantFrom(
    null,
    true,
    '',
    planted,
    0,
    -1,
    1e308,
    '2026-06-10',
    '2026-06-10T00:00:00',
    '-05:00',
    [],
    {},
  ),
  fc.constantFrom('SCORED', 'sleep', 'daily', 'body', 'recovery.deleted', 'delete', 'workout', '__proto__'),
  // Kinds of upload and of sleep, samples and their sentinels, and the ends of the calendar.
  fc.constantFrom(3, 4, 5, 22.5, 401, 1.2345e25, 'rest', 'deleted', 'late_nap', '+14:00', '-99:99'),
  fc.constantFrom('1900-01-01T00:00:00Z', '9999-12-31T23:59:59.999Z', '9999-12-31T12:30:00-05:00'),
  fc.array(fc.constantFrom({ hrv_rmssd: 30 }, { level: 40 }, { hrv_sdnn: 0 }, { hrv_rmssd: [] }, 7, null)),
  fc.double({ noDefaultInfinity: true, noNaN: true }),
  fc.jsonValue({ maxDepth: 2 }),
);
const time = fc.oneof(
  fc.constantFrom('0', '', '-1', 'soon', String(goldenReceivedAt), '9'.repeat(13), '9'.repeat(40)),
  fc.string(),
);
const given = fc.record(
  {
    [rawHeader.receivedAt]: fc.constantFrom('0', '1', String(goldenReceivedAt), '9'.repeat(14)),
    'x-terra-ordering-timestamp': time,
    'x-terra-signature': fc.oneof(
      time,
      time.map((t) => `t=${t},v1=00`),
    ),
  },
  { requiredKeys: [] },
);

/** A payload with one place changed: replaced, removed, or put in twice where it is an item of a list. */
function mutated(payload: unknown, steps: readonly number[], value: unknown, remove: boolean): unknown {
  if (typeof payload !== 'object' || payload === null) return value;
  const [step = 0, ...rest] = steps;
  const keys = Object.keys(payload);
  const key = keys[step % keys.length];
  if (key === undefined) return value;
  const entries = Object.entries(payload as Record<string, unknown>).flatMap(([name, old]) => {
    if (name !== key) return [[name, old] as const];
    if (rest.length === 0 && remove) return [];
    return [[name, rest.length === 0 ? value : mutated(old, rest, value, remove)] as const];
  });
  if (Array.isArray(payload)) {
    const items = entries.map(([, item]) => item);
    return steps.length % 2 === 0 ? items : [...items, ...items];
  }
  return Object.fromEntries(entries);
}

test('any JSON through any normalizer on any route yields events, drops or a coded dead letter', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...vendorNames),
      fc.jsonValue({ maxDepth: 4 }),
      fc.constantFrom(collectorScheme, 'none', 'plain'),
      given,
      (device, payload, scheme, headers) =>
        behaves(device, payload, { [rawHeader.scheme]: scheme, ...headers }),
    ),
    { numRuns: 300 },
  );
});

test('any mutation of the golden payloads does so too, also on the routes of other vendors', async () => {
  const payloads = goldenCases().flatMap(({ device, records }) =>
    records.map(({ value }) => ({ device, payload: JSON.parse(String(value)) as unknown })),
  );
  const change = fc.tuple(fc.array(fc.nat(40), { minLength: 1, maxLength: 8 }), scrap, fc.boolean());
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...payloads),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, fc.constantFrom(...vendorNames)),
      given,
      async ({ device, payload }, changes, route, headers) => {
        const changed = changes.reduce<unknown>(
          (now, [steps, value, remove]) => mutated(now, steps, value, remove),
          payload,
        );
        await behaves(route ?? device, changed, headers);
      },
    ),
    { numRuns: 800 },
  );
});
