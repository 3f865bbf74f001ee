import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createEncoder } from '../../schemas/codec.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { errorHeader } from '../../streams/index.ts';
import {
  judge,
  type Evidence,
  type Judgement,
  type Surroundings,
  type Unsure,
} from '../../replay/audit-judge.ts';
import type { Verdict } from '../../replay/audit-figures.ts';
import type { Published } from '../../replay/published.ts';
import { topics } from '../topology/support.ts';
import { OnePartition, reading, withHeaders } from './audit-support.ts';

const encode = createEncoder(1);
const other = { build: '0123456789abcdef' };

/** Verdict and kinds of exceptions in a line: `events/published`, `exceptions/lost: lost`. */
function said({ end, reason, uncompared, exceptions }: Verdict): string {
  const kinds = exceptions.map(({ kind }) => kind).join(' ');
  return `${end}/${reason}${uncompared === undefined ? '' : ` (${uncompared})`}${kinds === '' ? '' : `: ${kinds}`}`;
}

function verdictOf(judgement: Judgement): string {
  return said(judgement.verdict);
}

/** A record in which something was changed behind the topology's back. */
interface Planted {
  readonly evidence: Evidence & { readonly published: readonly Published[] };
  readonly judged: (published: readonly Published[], changes?: Partial<Surroundings>) => Judgement;
  readonly partition: OnePartition;
}

async function planted(
  body: object | string = reading(),
  {
    before = [],
    vendor = 'oura',
  }: { before?: readonly object[]; vendor?: 'oura' | 'terra' | 'healthkit' } = {},
): Promise<Planted> {
  const partition = await OnePartition.open(vendor);
  for (const one of before) partition.process(partition.record(one));
  const evidence = partition.process(partition.record(body));
  return {
    evidence,
    partition,
    judged: (published, changes) => judge({ ...evidence, published }, partition.surroundings(changes)),
  };
}

/** The output with another event in it. */
function withEvent({ partition }: Planted, one: Published, changes: Partial<BiometricEvent>): Published {
  const event = { ...partition.event(one), ...changes };
  return { ...one, record: { ...one.record, value: encode(event) } };
}

function only(published: readonly Published[]): Published {
  const [one] = published;
  assert.ok(one !== undefined && published.length === 1);
  return one;
}

const hae = (metrics: unknown[]): object => ({ data: { metrics } });
const hrvPoint = (date: string, qty: unknown): object => ({ date, qty, source: 'Watch' });
/** Two readings, and a point that cannot be read. */
const partlyReadable = hae([
  {
    name: 'heart_rate_variability',
    units: 'ms',
    data: [
      hrvPoint('2025-07-30 08:00:00 +0000', 40),
      hrvPoint('2025-07-30 09:00:00 +0000', 50),
      hrvPoint('never', 60),
    ],
  },
]);

test('an event that is as it must be is an event, whichever priority it has', async () => {
  for (const rmssd of [20, 30, 50]) {
    const { evidence, judged } = await planted(reading({ hrv_data: { rmssd } }));
    assert.equal(verdictOf(judged(evidence.published)), 'events/published');
  }
});

test('a dead letter that is as it must be is a dead letter, by its code', async () => {
  const { evidence, judged } = await planted('{"user_id":');
  const judgement = judged(evidence.published);
  assert.equal(verdictOf(judgement), 'dead letters/NOT_JSON');
  assert.equal(said(judgement.ifOther ?? judgement.verdict), 'dead letters/NOT_JSON');
});

test('events next to a dead letter of what could not be read end as partly', async () => {
  const { evidence, judged } = await planted(partlyReadable, { vendor: 'healthkit' });
  assert.equal(evidence.published.length, 3);
  assert.equal(verdictOf(judged(evidence.published)), 'partly/PARTLY_UNREADABLE');
});

test('a record that its build drops ends as a drop by operator and reason, and cannot be proved of another build', async () => {
  const notification = { event_type: 'update', data_type: 'sleep', object_id: 'o', user_id: 'u' };
  const { judged } = await planted(notification);
  const judgement = judged([]);
  assert.equal(verdictOf(judgement), 'drops/normalize/notification');
  assert.equal(judgement.ifOther && said(judgement.ifOther), 'unprovable/other_build');
  assert.equal(
    verdictOf((await planted(reading(), { before: [reading()] })).judged([])),
    'drops/newest-revision/unchanged',
  );
});

test('a missing event is lost, unless another build may have dropped it', async () => {
  const { judged } = await planted();
  const judgement = judged([]);
  assert.equal(verdictOf(judgement), 'exceptions/lost: lost');
  assert.equal(judgement.ifOther && said(judgement.ifOther), 'unprovable/other_build');
});

test('one of several events that is missing is lost', async () => {
  const { evidence, judged } = await planted(partlyReadable, { vendor: 'healthkit' });
  for (const gone of evidence.published) {
    const judgement = judged(evidence.published.filter((one) => one !== gone));
    assert.equal(verdictOf(judgement), 'exceptions/lost: lost', gone.topic);
    assert.equal(judgement.ifOther, undefined);
  }
});

test('the events of a record are lost though its dead letter is there', async () => {
  const { evidence, judged } = await planted(partlyReadable, { vendor: 'healthkit' });
  const letter = evidence.published.filter(({ topic }) => topic === topics.deadLetters);
  assert.equal(verdictOf(judged(letter)), 'exceptions/lost: lost');
});

test('a missing dead letter is lost', async () => {
  const { judged } = await planted('{"user_id":');
  assert.equal(verdictOf(judged([])), 'exceptions/lost: lost');
});

test('an output twice is a duplicate, of whichever build', async () => {
  const { evidence, judged } = await planted();
  const one = only(evidence.published);
  assert.equal(verdictOf(judged([one, one])), 'exceptions/duplicate: duplicate');
  const others = withHeaders(one, other);
  assert.equal(verdictOf(judged([others, others])), 'exceptions/duplicate: duplicate');
});

test('a dead letter twice is a duplicate, of whichever build', async () => {
  const { evidence, judged } = await planted('{"user_id":');
  const one = only(evidence.published);
  const judgement = judged([one, one]);
  assert.equal(verdictOf(judgement), 'exceptions/duplicate: duplicate');
  assert.equal(judgement.ifOther && said(judgement.ifOther), 'exceptions/duplicate: duplicate');
});

test('an event in the topic of another priority has taken a wrong route, of whichever build', async () => {
  const { evidence, judged } = await planted();
  const one = { ...only(evidence.published), topic: topics.priority.HIGH };
  assert.equal(verdictOf(judged([one])), 'exceptions/wrong_route: wrong_route');
  assert.equal(verdictOf(judged([withHeaders(one, other)])), 'exceptions/wrong_route: wrong_route');
});

test('an event with another priority than its build computes has taken a wrong route', async () => {
  const case_ = await planted();
  const one = {
    ...withEvent(case_, only(case_.evidence.published), { priority: 'HIGH' }),
    topic: topics.priority.HIGH,
  };
  assert.equal(verdictOf(case_.judged([one])), 'exceptions/wrong_route: wrong_route');
});

test('an event of the same build with other content is different, and the fields are named without their values', async () => {
  const case_ = await planted();
  const one = withEvent(case_, only(case_.evidence.published), { hrv: 51.5, flags: ['planted'] });
  const { verdict } = case_.judged([one]);
  assert.equal(said(verdict), 'exceptions/different: different');
  assert.match(verdict.exceptions[0]?.what ?? '', /other hrv, flags$/);
  assert.doesNotMatch(JSON.stringify(verdict), /51\.5|planted/);
});

test('an event of the same build with another header, key or timestamp is different', async () => {
  const { evidence, judged } = await planted();
  const one = only(evidence.published);
  const changed = [
    withHeaders(one, { triggers: '{}' }),
    { ...one, record: { ...one.record, key: Buffer.from('v') } },
    { ...one, record: { ...one.record, timestamp: 1 } },
  ];
  for (const each of changed) assert.equal(verdictOf(judged([each])), 'exceptions/different: different');
});

test('the content of another build is not compared', async () => {
  const case_ = await planted();
  const one = withHeaders(withEvent(case_, only(case_.evidence.published), { hrv: 51.5 }), other);
  const judgement = case_.judged([one]);
  assert.equal(verdictOf(judgement), 'events/published (other_build)');
  assert.equal(judgement.isOther, true);
});

test('another build may make fewer events, more events, or events of what this build drops', async () => {
  const case_ = await planted(partlyReadable, { vendor: 'healthkit' });
  const events = case_.evidence.published
    .filter(({ topic }) => topic !== topics.deadLetters)
    .map((one) => withHeaders(one, other));
  assert.equal(verdictOf(case_.judged(events.slice(1))), 'events/published');
  const dropped = await planted(reading(), { before: [reading()] });
  const [one] = (await planted()).evidence.published;
  assert.ok(one);
  assert.equal(verdictOf(dropped.judged([withHeaders(one, other)])), 'events/published (other_build)');
  assert.equal(verdictOf(dropped.judged([one])), 'exceptions/unexpected: unexpected');
});

test('a dead letter where the build makes events, or drops the record, is an exception of that build only', async () => {
  const bad = await planted('{"user_id":');
  const letter = only(bad.evidence.published);
  const { record } = letter;
  const event = await planted();
  const { key, value, timestamp } = event.evidence.record;
  const headers = { ...record.headers, ...event.evidence.record.headers };
  const whole = { ...letter, record: { ...record, key, value, timestamp, headers } };
  const judgement = event.judged([whole]);
  assert.equal(verdictOf(judgement), 'exceptions/different: different');
  assert.equal(judgement.ifOther && said(judgement.ifOther), 'dead letters/NOT_JSON');
  const dropped = await planted(reading({ hrv_data: {} }));
  const of = { ...whole, record: { ...whole.record, ...pick(dropped.evidence.record) } };
  assert.equal(verdictOf(dropped.judged([of])), 'exceptions/unexpected: unexpected');
});

function pick({ key, value, timestamp }: Evidence['record']): Partial<Evidence['record']> {
  return { key, value, timestamp };
}

test('a dead letter with another reason than its build gives is different', async () => {
  const { evidence, judged } = await planted('{"user_id":');
  const one = withHeaders(only(evidence.published), { [errorHeader.exception]: 'MISSING_USER_ID' });
  const judgement = judged([one]);
  assert.equal(verdictOf(judgement), 'exceptions/different: different');
  assert.equal(judgement.ifOther && said(judgement.ifOther), 'dead letters/MISSING_USER_ID');
});

test('a dead letter must be its record byte for byte, of whichever build', async () => {
  const { evidence, judged } = await planted('{"user_id":');
  const one = only(evidence.published);
  const changed = [
    { ...one, record: { ...one.record, value: Buffer.from('{"user_id"') } },
    { ...one, record: { ...one.record, key: null } },
    { ...one, record: { ...one.record, timestamp: 1 } },
    withHeaders(one, { received_at: '1' }),
  ];
  for (const each of changed) {
    const judgement = judged([each]);
    assert.equal(verdictOf(judgement), 'exceptions/letter_differs: letter_differs');
    assert.equal(judgement.ifOther && said(judgement.ifOther), 'exceptions/letter_differs: letter_differs');
  }
});

test('a letter that says that a broker refused an output accounts for its record', async () => {
  const bad = await planted('{"user_id":');
  const event = await planted();
  const { record } = only(bad.evidence.published);
  const headers = { ...record.headers, ...event.evidence.record.headers };
  const whole = { ...record, ...pick(event.evidence.record), headers };
  const letter = withHeaders(
    { ...only(bad.evidence.published), record: whole },
    {
      [errorHeader.exception]: 'MESSAGE_TOO_LARGE',
      [errorHeader.message]: 'the broker refused an output of this record: MESSAGE_TOO_LARGE',
    },
  );
  const judgement = event.judged([letter]);
  assert.equal(verdictOf(judgement), 'dead letters/MESSAGE_TOO_LARGE');
  // It left no state, but the recomputation has.
  assert.deepEqual(
    judgement.subjects.map(({ isSure }) => isSure),
    [false],
  );
});

test('a correction stands next to what it corrects; a second one of its generation is a duplicate', async () => {
  const case_ = await planted();
  const live = only(case_.evidence.published);
  const correction = { ...live, generation: 1, correction: 'changed' };
  assert.equal(verdictOf(case_.judged([live, correction])), 'events/corrected');
  const next = { ...correction, generation: 2 };
  assert.equal(verdictOf(case_.judged([live, correction, next])), 'events/corrected');
  assert.equal(verdictOf(case_.judged([live, correction, correction])), 'exceptions/duplicate: duplicate');
});

test('what a later generation has corrected is not compared, and its correction is what comes before the next version', async () => {
  const case_ = await planted();
  const live = only(case_.evidence.published);
  const wrong = withEvent(case_, live, { hrv: 10, event_id: '00000000-0000-0000-0000-000000000000' });
  const correction = { ...live, generation: 1, correction: 'changed' };
  const judgement = case_.judged([wrong, correction]);
  assert.equal(verdictOf(judgement), 'events/corrected (corrected)');
  assert.equal(judgement.subjects.at(-1)?.isSure, true);
});

test('a correction accounts for a record that the generation before has dropped', async () => {
  const case_ = await planted();
  const correction = { ...only(case_.evidence.published), generation: 1, correction: 'added' };
  assert.equal(verdictOf(case_.judged([correction])), 'events/corrected');
});

test('an event of a later generation is compared but for its generation', async () => {
  const case_ = await planted();
  const live = only(case_.evidence.published);
  const one = {
    ...withHeaders(withEvent(case_, live, { generation: 1 }), { generation: '1' }),
    generation: 1,
  };
  assert.equal(verdictOf(case_.judged([one])), 'events/published');
  const changed = withEvent(case_, live, { generation: 1, hrv: 10 });
  assert.equal(verdictOf(case_.judged([changed])), 'exceptions/different: different');
});

test('in a log without its beginning, the first version of a resource may have had one before it', async () => {
  const start = { offset: 5n, epochMs: 0 };
  const { evidence, judged, ...rest } = await planted();
  assert.equal(verdictOf(judged([], { start })), 'unprovable/predecessor');
  const supersedes = {
    event_id: '00000000-0000-0000-0000-000000000000',
    priority: 'HIGH',
    alert_ids: [],
  } as const;
  const one = withEvent({ evidence, judged, ...rest }, only(evidence.published), { supersedes });
  assert.equal(verdictOf(judged([one], { start })), 'events/published (predecessor)');
  assert.equal(verdictOf(judged([one])), 'exceptions/different: different');
  // But no version of anything else can change what it measures.
  const measured = withEvent({ evidence, judged, ...rest }, one, { hrv: 49 });
  assert.equal(verdictOf(judged([measured], { start })), 'exceptions/different: different');
});

test('in a log without its beginning, a second version that is missing is lost', async () => {
  const start = { offset: 5n, epochMs: 0 };
  const before = [reading()];
  const { judged } = await planted(reading({ hrv_data: { rmssd: 55 } }), { before });
  assert.equal(verdictOf(judged([], { start })), 'exceptions/lost: lost');
  assert.equal(verdictOf(judged([], { start, isUnsure: () => 'history' })), 'unprovable/predecessor');
  assert.equal(verdictOf(judged([], { start, isUncertain: true })), 'unprovable/uncertain_state');
  assert.equal(verdictOf(judged([], { mayBeDeleted: true })), 'unprovable/outputs_deleted');
});

test('in a log without its beginning, nights and alerts may lie before it', async () => {
  const start = { offset: 5n, epochMs: 0 };
  const case_ = await planted(reading({ hrv_data: { rmssd: 20 } }));
  const live = only(case_.evidence.published);
  const nights = withEvent(case_, live, { baseline: { hrv_mean: 1, hrv_sd: 0, nights: 1 } });
  assert.equal(verdictOf(case_.judged([nights], { start })), 'events/published (earlier_nights)');
  assert.equal(verdictOf(case_.judged([nights])), 'exceptions/different: different');
  assert.equal(
    verdictOf(case_.judged([nights], { isUnsureUser: () => true })),
    'events/published (earlier_nights)',
  );
  const { triggers } = case_.partition.event(live);
  const again = withEvent(case_, live, { triggers: triggers.map((one) => ({ ...one, first: false })) });
  assert.equal(verdictOf(case_.judged([again], { start })), 'events/published (earlier_alerts)');
  assert.equal(verdictOf(case_.judged([again])), 'exceptions/different: different');
  const before = reading({ hrv_data: { rmssd: 20 } });
  const repeated = await planted(reading({ hrv_data: { rmssd: 21 } }), { before: [before] });
  const told = only(repeated.evidence.published);
  const { triggers: known } = repeated.partition.event(told);
  assert.deepEqual(
    known.map(({ first }) => first),
    [false],
  );
  const anew = withEvent(repeated, told, { triggers: known.map((one) => ({ ...one, first: true })) });
  assert.equal(verdictOf(repeated.judged([anew], { start })), 'exceptions/different: different');
  assert.equal(
    verdictOf(repeated.judged([anew], { isUnsureUser: () => true })),
    'events/published (earlier_alerts)',
  );
});

test('a day whose records lie on both sides of the beginning is not compared, and a later one is', async () => {
  const steps = hae([
    { name: 'step_count', units: 'count', data: [{ date: '2025-07-30 08:00:00 +0000', qty: 500 }] },
  ]);
  const start = { offset: 5n, epochMs: Date.parse('2025-07-30T12:00:00Z') };
  const case_ = await planted(steps, { vendor: 'healthkit' });
  const one = withEvent(case_, only(case_.evidence.published), { activity_data: { steps: 900 } });
  assert.equal(verdictOf(case_.judged([one], { start })), 'events/published (incomplete_day)');
  assert.equal(verdictOf(case_.judged([], { start })), 'unprovable/incomplete_day');
  const earlier = { offset: 5n, epochMs: start.epochMs - 3 * 86_400_000 };
  assert.equal(verdictOf(case_.judged([one], { start: earlier })), 'exceptions/different: different');
});

test('an exception excuses no later loss, but that the next version names another one before it', async () => {
  const case_ = await planted(reading({ hrv_data: { rmssd: 55 } }), { before: [reading()] });
  const isUnsure = (): Unsure => 'exception';
  assert.equal(verdictOf(case_.judged([], { isUnsure })), 'exceptions/lost: lost');
  const one = withEvent(case_, only(case_.evidence.published), { supersedes: null });
  assert.equal(verdictOf(case_.judged([one], { isUnsure })), 'events/published (predecessor)');
  assert.equal(verdictOf(case_.judged([one])), 'exceptions/different: different');
});

test('what follows on an exception is in doubt, until a version is again the one that was published', async () => {
  const { evidence, judged } = await planted();
  const { user, resource } = { user: 'u', resource: '2025-07-30T12:00:00.000Z' };
  assert.deepEqual(judged([]).subjects, [{ user, resource, isSure: false }]);
  const one = withHeaders(only(evidence.published), { measured_at: '1' });
  assert.deepEqual(judged([one]).subjects, [{ user, resource, isSure: true }]);
});

test('a record of 1,000 events that lacks its last has lost one', async () => {
  const data = Array.from({ length: 1_000 }, (_, at) =>
    hrvPoint(
      new Date(Date.UTC(2025, 6, 1) + at * 1_000).toISOString().replace('T', ' ').slice(0, 19) + ' +0000',
      41,
    ),
  );
  const body = hae([{ name: 'heart_rate_variability', units: 'ms', data }]);
  const case_ = await planted(body, { vendor: 'healthkit' });
  assert.equal(case_.evidence.published.length, 1_000);
  const judgement = case_.judged(case_.evidence.published.slice(0, -1));
  assert.equal(verdictOf(judgement), 'exceptions/lost: lost');
});
