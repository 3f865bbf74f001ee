import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { changedFields, differencesOf, type Outcome } from '../../replay/outcome.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { anEvent } from '../schemas/events.ts';

const of = (...events: BiometricEvent[]): Outcome => ({ events: events.map((event) => ({ event })) });
const [trigger] = anEvent().triggers;

describe('the fields in which two events differ', () => {
  for (const [title, changes] of Object.entries({
    'the revision, the event id and what it supersedes': {
      revision: 5,
      event_id: 'x',
      supersedes: { event_id: 'y', priority: 'HIGH', alert_ids: [] },
    },
    'the generation and when it was taken': { generation: 1, received_at: 5 },
    'the raw record': { raw: { topic: 'raw.oura', partition: 1, offset: 43 } },
    'flags of its age': { flags: ['zone_assumed_utc', 'stale'] },
    'whether an alert is the first': { triggers: [{ ...trigger!, first: false }] },
    'less than a thousandth': { hrv: 20.0004 },
  } satisfies Record<string, Partial<BiometricEvent>>))
    test(`are not ${title}`, () => assert.deepEqual(changedFields(anEvent(), anEvent(changes)), []));

  for (const [field, changes] of Object.entries({
    hrv: { hrv: 20.001 },
    sleep_score: { sleep_score: null },
    source: { source: 'terra:GARMIN' },
    local_date: { local_date: '2025-07-30' },
    timestamp: { timestamp: 5 },
    kind: { kind: 'sleep' },
    deleted: { deleted: true },
    flags: { flags: [] },
    'activity_data.steps': { activity_data: {} },
    'activity_data.strain': { activity_data: { steps: 100, strain: 3 } },
    triggers: { triggers: [{ ...trigger!, threshold: 30 }] },
    priority: { priority: 'MEDIUM' },
  } satisfies Record<string, Partial<BiometricEvent>>))
    test(`are ${field}`, () => assert.deepEqual(changedFields(anEvent(), anEvent(changes)), [field]));
});

describe('two outcomes of a record', () => {
  const kinds = (before: Outcome, after: Outcome): string[] =>
    differencesOf(before, after).map(({ kind }) => kind);

  test('are compared resource by resource, in any order', () => {
    const a = anEvent({ resource_id: 'a' });
    const b = anEvent({ resource_id: 'b' });
    assert.deepEqual(kinds(of(a, b), of(b, a)), []);
    assert.deepEqual(kinds(of(a, b), of(b)), ['removed']);
    assert.deepEqual(kinds(of(a), of(a, b)), ['added']);
    assert.deepEqual(kinds(of(a), of(b)), ['removed', 'added']);
  });

  test('are of other resources when they are of other users', () => {
    assert.deepEqual(kinds(of(anEvent()), of(anEvent({ user_id: 'other' }))), ['removed', 'added']);
  });

  test('tell a route, a baseline and a content apart', () => {
    assert.deepEqual(kinds(of(anEvent()), of(anEvent({ priority: 'MEDIUM', hrv: 30 }))), ['re_routed']);
    assert.deepEqual(kinds(of(anEvent()), of(anEvent({ hrv: 30, baseline: null }))), ['changed']);
    assert.deepEqual(kinds(of(anEvent()), of(anEvent({ baseline: null }))), ['baseline_only']);
  });

  test('are one difference where a dead letter comes or goes, with the events that go or come with it', () => {
    const letter = { code: 'NOT_JSON' };
    const event = anEvent();
    const [now, ...others] = differencesOf(of(event), { events: [], letter });
    assert.equal(now?.kind, 'now_dead_lettered');
    assert.equal(now.events[0]?.published?.event, event);
    assert.deepEqual(others, []);
    const [gone, ...more] = differencesOf({ events: [], letter }, of(event));
    assert.equal(gone?.kind, 'no_longer_dead_lettered');
    assert.equal(gone.events[0]?.recomputed?.event, event);
    assert.deepEqual(more, []);
    assert.deepEqual(kinds({ events: [] }, { events: [], letter }), ['added']);
    assert.deepEqual(kinds({ events: [], letter }, { events: [], letter: { code: 'OTHER' } }), [
      'other_reason',
    ]);
    assert.deepEqual(kinds({ ...of(event), letter }, { ...of(event), letter }), []);
  });

  test('do not miss a dead letter whose record has been corrected', () => {
    const letter = { code: 'NOT_JSON', isCorrected: true };
    assert.deepEqual(kinds({ ...of(anEvent()), letter }, of(anEvent())), []);
  });
});
