import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AlertAccount } from '../../../local/traffic/alert-account.ts';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { anEvent } from '../../schemas/events.ts';

const version = (revision: number, alerts: readonly string[], changes: Partial<BiometricEvent> = {}) =>
  anEvent({
    revision,
    flags: [],
    triggers: alerts.map((alert_id) => ({ ...anEvent().triggers[0]!, alert_id, first: true })),
    ...changes,
  });

test('an alert that the newest version raises must stand announced, another must not', () => {
  const account = new AlertAccount();
  account.eventRead(version(1, ['a', 'b']));
  account.announced('a');
  assert.deepEqual(account.faults(), ['1 alerts were not announced by the example reader']);
  account.announced('b');
  assert.deepEqual(account.faults(), []);
  account.eventRead(version(2, ['a']));
  assert.deepEqual(account.faults(), ['1 alerts were not withdrawn by the example reader']);
  account.withdrawn('b');
  assert.deepEqual(account.faults(), []);
  assert.deepEqual(account.counts, { alerts: 2, withdrawn: 1 });
});

test('an alert that was withdrawn may be announced again, another not', () => {
  const account = new AlertAccount();
  account.eventRead(version(1, ['a']));
  account.announced('a');
  account.withdrawn('a');
  account.announced('a');
  assert.deepEqual(account.faults(), []);
  account.announced('a');
  assert.deepEqual(account.faults(), ['1 alerts were announced twice by the example reader']);
});

test('an older version, a stale event and an alert of before the run ask for nothing', () => {
  const account = new AlertAccount();
  account.eventRead(version(2, []));
  account.eventRead(version(1, ['a']));
  account.eventRead(version(1, ['b'], { resource_id: 'stale', flags: ['stale'] }));
  const [trigger] = anEvent().triggers;
  account.eventRead(
    version(1, [], { resource_id: 'known', triggers: [{ ...trigger!, alert_id: 'c', first: false }] }),
  );
  assert.deepEqual(account.faults(), []);
});
