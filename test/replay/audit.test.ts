import assert from 'node:assert/strict';
import { readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { OutputRecord } from '../../streams/index.ts';
import {
  AuditedLog,
  document,
  runAudit,
  type Made,
  type Plant,
  type Printed,
  type Raw,
} from './audit-log.ts';

const timeout = { timeout: 120_000 };
const hourMs = 3_600_000;

function reading(minute: number, rmssd: number, user = 'u'): Raw {
  const timestamp = new Date(Date.UTC(2026, 0, 5, 8, minute)).toISOString();
  return { body: { user_id: user, timestamp, hrv_data: { rmssd } } };
}

/** Events of each priority, two drops, and two dead letters. */
const day: readonly Raw[] = [
  reading(0, 20),
  reading(1, 30),
  reading(2, 50),
  reading(2, 50),
  { body: '{"user_id":' },
  reading(3, 60),
  { body: { user_id: 'u', timestamp: '2026-01-05T08:00:00Z' } },
  { body: { user_id: 'u', timestamp: 'never', hrv_data: { rmssd: 50 } } },
  reading(4, 70),
];

/** Audits a day of one vendor with a planted fault, and answers its exceptions: `kind offset`. */
async function exceptionsOf(
  t: TestContext,
  plant: Plant,
  raws: readonly Raw[] = day,
): Promise<{ found: readonly string[]; printed: Printed; log: AuditedLog }> {
  const log = await AuditedLog.create(t);
  await log.append('oura', raws);
  await log.process('oura', { plant });
  const printed = await log.audit();
  const { records, ends } = printed.devices.oura;
  assert.equal(records, raws.length);
  assert.equal(
    Object.values(ends)
      .flatMap((counts) => Object.values(counts))
      .reduce((sum, of) => sum + of, 0),
    records,
    'each record has one end',
  );
  const found = printed.examples.map(({ kind, raw }) => `${kind} ${raw?.split(':').at(-1) ?? '-'}`).sort();
  return { found, printed, log };
}

const without =
  (offset: number): Plant =>
  (made) =>
    made.filter(({ of }) => of !== offset);

/** Changes the output of one raw record; several outputs take its place. */
const instead =
  (offset: number, change: (output: Made) => readonly OutputRecord[]): Plant =>
  (made) =>
    made.flatMap((output) => (output.of === offset ? change(output) : [output]));

test('a day as it must be has no exceptions, and each of its records one end', timeout, async (t) => {
  const { found, printed } = await exceptionsOf(t, (made) => made);
  assert.deepEqual(found, []);
  assert.deepEqual(printed.devices.oura.ends, {
    events: { published: 5 },
    partly: {},
    dead_letters: { NOT_JSON: 1, BAD_TIMESTAMP: 1 },
    drops: { 'newest-revision/unchanged': 1, 'normalize/no_measurement': 1 },
    pending: {},
    unprovable: {},
    exceptions: {},
  });
  assert.deepEqual(printed.devices.oura.outputs, { HIGH: 1, MEDIUM: 1, NORMAL: 3, 'dead letters': 2 });
});

test('an event that is missing is lost', timeout, async (t) => {
  const { found } = await exceptionsOf(t, without(2));
  assert.deepEqual(found, ['lost 2']);
});

test('the last event is lost as well', timeout, async (t) => {
  const { found } = await exceptionsOf(t, without(8));
  assert.deepEqual(found, ['lost 8']);
});

test('a missing dead letter is lost, and one twice is a duplicate', timeout, async (t) => {
  const twice = instead(7, (output) => [output, output]);
  const { found } = await exceptionsOf(t, (made) => twice(without(4)(made) as readonly Made[]));
  assert.deepEqual(found, ['duplicate 7', 'lost 4']);
});

test('an event twice is a duplicate, at once or far behind', timeout, async (t) => {
  const { found } = await exceptionsOf(t, (made) => {
    const [first] = made.filter(({ of }) => of === 2);
    assert.ok(first);
    return [...instead(5, (output) => [output, output])(made), first];
  });
  assert.deepEqual(found, ['duplicate 2', 'duplicate 5']);
});

test('an event in the topic of another priority has taken a wrong route', timeout, async (t) => {
  const { found, printed, log } = await exceptionsOf(t, (made) => {
    const high = made.find(({ of }) => of === 0)?.topic ?? '';
    return instead(2, (output) => [{ ...output, topic: high }])(made);
  });
  assert.deepEqual(found, ['wrong_route 2']);
  const { NORMAL, HIGH } = log.application.names.priority;
  assert.notEqual(NORMAL, HIGH);
  assert.ok(printed.examples[0]?.output?.startsWith(`${HIGH}:0:`));
});

test(
  'an event with other bytes, and one of a record that is dropped, are exceptions that quote nothing',
  timeout,
  async (t) => {
    const { found, printed } = await exceptionsOf(t, (made) => {
      const drop = made.find(({ of }) => of === 5);
      assert.ok(drop);
      // The event of offset 5 stands where offset 2's should: another raw record's twice, and its own missing.
      return instead(2, (output) => [
        { ...output, headers: { ...output.headers, triggers: '{"triggers":[1]}' } },
      ])(made);
    });
    assert.deepEqual(found, ['different 2']);
    assert.doesNotMatch(JSON.stringify(printed.examples), /rmssd|\[1\]|"50"/);
  },
);

test(
  'a dead letter that is not its record, and an output that names no record, are found',
  timeout,
  async (t) => {
    const { found } = await exceptionsOf(t, (made) => {
      const letter = made.find(({ of }) => of === 7);
      assert.ok(letter);
      const beyond = {
        ...letter,
        headers: { ...letter.headers, '__streams.errors.offset': Buffer.from('1000') },
      };
      return [...instead(4, (output) => [{ ...output, value: Buffer.from('{"user') }])(made), beyond];
    });
    assert.deepEqual(found, ['letter_differs 4', 'no_record 1000']);
  },
);

test('what is not processed yet is pending, and an exception after a while', timeout, async (t) => {
  const log = await AuditedLog.create(t);
  await log.append('oura', [...day, { ...reading(9, 55), receivedAt: Date.now() - 2 * hourMs }]);
  await log.process('oura', { count: 3 });
  const printed = await log.audit({ pendingAfterMs: 3 * hourMs });
  assert.equal(printed.exceptions, 0);
  assert.deepEqual(printed.devices.oura.ends['pending'], { 'not processed yet': 7 });
  const late = await log.audit();
  assert.equal(late.exceptions, 1);
  const [overdue] = late.examples;
  assert.equal(overdue?.kind, 'overdue');
  assert.equal(overdue.raw, `${log.application.names.raw.oura}:0:9`);
});

test('a group that has committed nothing is named', timeout, async (t) => {
  const log = await AuditedLog.create(t);
  await log.append('oura', day);
  const printed = await log.audit();
  assert.deepEqual(printed.devices.oura.ends['pending'], { 'not processed yet': day.length });
  assert.match(printed.notes.join('\n'), /has committed nothing/);
});

const notification = (id: string, receivedAt: number, type = 'sleep', event = 'update'): Raw => ({
  body: {
    event_type: event,
    data_type: type,
    object_id: id,
    user_id: 'u',
    event_time: '2026-01-05T08:00:00Z',
  },
  receivedAt,
});
const fetched = (id: string, at: number): Raw => ({
  ...document(
    {
      notification: { event_type: 'update', data_type: 'sleep', object_id: id, user_id: 'u' },
      resource: {
        id,
        type: 'long_sleep',
        average_hrv: 50,
        bedtime_end: '2026-01-05T08:00:00Z',
        day: '2026-01-05',
      },
    },
    { fetched_at: String(at) },
  ),
  receivedAt: at,
});

test('a notification without its document is unsettled after a while', timeout, async (t) => {
  const now = Date.now();
  const { found, printed } = await exceptionsOf(t, (made) => made, [
    notification('a', now - 3 * hourMs),
    fetched('a', now - 2 * hourMs),
    // The document is older than what this says.
    notification('a', now - 1.5 * hourMs),
    notification('young', now - hourMs / 2),
    notification('deleted', now - 3 * hourMs, 'sleep', 'delete'),
    notification('of a type that measures nothing', now - 3 * hourMs, 'daily_spo2'),
  ]);
  assert.deepEqual(found, ['unsettled 2']);
  assert.deepEqual(printed.devices.oura.notifications, {
    settled: 1,
    documents: 1,
    waiting: 1,
    unsettled: 1,
  });
});

test(
  'where no collector has appended a document, its notifications are one exception',
  timeout,
  async (t) => {
    const old = Date.now() - 3 * hourMs;
    const { found, printed } = await exceptionsOf(t, (made) => made, [
      notification('b', old),
      notification('a', old - 1),
    ]);
    assert.deepEqual(found, ['unsettled 1']);
    assert.match(printed.examples[0]?.what ?? '', /no collector has appended a document: 2 notifications/);
  },
);

test('only records of the range are judged, and the others are processed', timeout, async (t) => {
  const at = Date.parse('2026-11-20T00:00:00Z');
  const received = (raw: Raw, hour: number): Raw => ({ ...raw, receivedAt: at + hour * hourMs });
  const log = await AuditedLog.create(t);
  await log.append('oura', [
    received(reading(0, 50), 0),
    // Unchanged only to those who have seen the first.
    received(reading(0, 50), 1),
    received(reading(1, 50), 2),
    received(reading(2, 50), 3),
  ]);
  await log.process('oura', { plant: (made) => without(0)(without(3)(made) as readonly Made[]) });
  const printed = await log.audit({ fromMs: at + hourMs, toMs: at + 3 * hourMs });
  assert.equal(printed.exceptions, 0);
  const { records, outside, ends } = printed.devices.oura;
  assert.deepEqual([records, outside], [2, 2]);
  assert.deepEqual(ends['drops'], { 'newest-revision/unchanged': 1 });
});

test('--out holds every exception, for its owner only, and text names the first', timeout, async (t) => {
  const log = await AuditedLog.create(t);
  const many = Array.from({ length: 120 }, (_, at) => reading(at % 60, 41 + Math.floor(at / 60)));
  await log.append('oura', [...many, reading(0, 90)]);
  await log.process('oura', { plant: (made) => made.slice(-1) });
  const file = join(tmpdir(), `audit-${process.pid}.jsonl`);
  t.after(() => rmSync(file, { force: true }));
  const { code, output, errors } = await runAudit(log.application, '--parallel', '1', '--out', file);
  assert.equal(code, 1);
  assert.match(output, /^120 exceptions:$/m);
  assert.match(output, /^The first 100 of 120; --out writes all of them to a file\.$/m);
  assert.match(errors, /bridge audit: 120 exceptions/);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const lines = readFileSync(file, 'utf8').trim().split('\n');
  assert.equal(lines.length, 120);
  assert.equal((JSON.parse(lines[0] ?? '') as { kind: string }).kind, 'lost');
});
