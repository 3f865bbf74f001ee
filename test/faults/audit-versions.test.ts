import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { anEvent } from '../schemas/events.ts';
import { unlinkedEvents } from './audit-versions.ts';

const [trigger] = anEvent().triggers;
const raw = (offset: number): BiometricEvent['raw'] => ({ topic: 'raw.oura', partition: 1, offset });

const first = anEvent({ event_id: 'first', revision: 5, raw: raw(1) });
const second = anEvent({
  event_id: 'second',
  revision: 6,
  raw: raw(2),
  triggers: [],
  priority: 'NORMAL',
  supersedes: { event_id: 'first', priority: 'HIGH', alert_ids: [trigger!.alert_id] },
});
/** A recomputation's, of the record that the last version came from. */
const corrected = anEvent({
  event_id: 'corrected',
  generation: 1,
  revision: 6,
  raw: raw(2),
  supersedes: { event_id: 'second', priority: 'NORMAL', alert_ids: [] },
});

test('events that name the version before them, read in any order and more than once, are linked', () => {
  assert.equal(unlinkedEvents([corrected, second, first, second]).count, 0);
  const ofAnother = anEvent({ ...first, user_id: 'another' });
  assert.equal(unlinkedEvents([first, second, ofAnother]).count, 0);
});

test('an event that names no version, another one, or not all of its alerts is found', () => {
  const before = second.supersedes!;
  for (const supersedes of [
    null,
    { ...before, event_id: 'other' },
    { ...before, priority: 'MEDIUM' as const },
    { ...before, alert_ids: [] },
  ]) {
    const { count, examples } = unlinkedEvents([first, { ...second, supersedes }]);
    assert.deepEqual([count, examples], [1, ['raw.oura-1@2: names another version before it']]);
  }
  assert.equal(unlinkedEvents([second]).count, 1, 'its predecessor is missing');
  assert.equal(unlinkedEvents([first, corrected]).count, 1);
});
