import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { rememberedMs } from '../../topology/packed.ts';
import type { TriggerRule } from '../../topology/triggers.ts';
import { aDeletion, aReading, ReadingsDriver, receivedAt } from './support.ts';

const night = { kind: 'sleep', local_date: '2025-07-30', resource_id: 'sleep:1' } as const;

function firsts(event: BiometricEvent): boolean[] {
  return event.triggers.map(({ first }) => first);
}

test('an alert is a first only once, however often its night is sent', async () => {
  const bridge = new ReadingsDriver();
  const first = await bridge.event(aReading({ ...night, hrv: 20 }));
  const second = await bridge.event(aReading({ ...night, hrv: 21 }));
  const otherSleep = await bridge.event(aReading({ ...night, resource_id: 'sleep:2', hrv: 20 }));
  assert.deepEqual([first, second, otherSleep].map(firsts), [[true], [false], [false]]);
  assert.equal(first.triggers[0]!.alert_id, otherSleep.triggers[0]!.alert_id);
});

test('another kind of alert and another night are firsts of their own', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ ...night, hrv: 20 }));
  assert.deepEqual(firsts(await bridge.event(aReading({ ...night, hrv: 30 }))), [true]);
  assert.deepEqual(firsts(await bridge.event(aReading({ ...night, hrv: 20, sleep_score: 60 }))), [
    false,
    true,
  ]);
  const tomorrow = { ...night, local_date: '2025-07-31', resource_id: 'sleep:2' };
  assert.deepEqual(firsts(await bridge.event(aReading({ ...tomorrow, hrv: 20 }))), [true]);
});

test('an alert is a first again after 35 days of receipt without it', async () => {
  const bridge = new ReadingsDriver();
  const raise = async (hrv: number, at: number): Promise<boolean[]> =>
    firsts(await bridge.event(aReading({ ...night, hrv }), { at }));
  assert.deepEqual(await raise(20, receivedAt), [true]);
  assert.deepEqual(await raise(21, receivedAt + rememberedMs), [false]);
  // Renewed by the repetition.
  assert.deepEqual(await raise(20, receivedAt + 2 * rememberedMs), [false]);
  assert.deepEqual(await raise(21, receivedAt + 3 * rememberedMs + 1), [true]);
});

test('of two triggers of an event with the same alert id, only the first is a first', async () => {
  const rule = { type: 'CARE', severity: 'LOW', recommendation: 'rest' } as const;
  const rules: TriggerRule[] = [
    { ...rule, metric: 'hrv', below: 40 },
    { ...rule, metric: 'sleep_score', below: 70 },
  ];
  const event = await new ReadingsDriver(rules).event(aReading({ hrv: 20, sleep_score: 60 }));
  assert.equal(new Set(event.triggers.map(({ alert_id }) => alert_id)).size, 1);
  assert.deepEqual(firsts(event), [true, false]);
});

test('the alerts of one user do not affect those of another', async () => {
  const bridge = new ReadingsDriver();
  await bridge.event(aReading({ ...night, hrv: 20 }));
  assert.deepEqual(firsts(await bridge.event(aReading({ ...night, hrv: 20, user_id: 'v' }))), [true]);
  assert.deepEqual(firsts(await bridge.event(aReading({ ...night, hrv: 20 }), { device: 'terra' })), [true]);
});

test('an event without triggers passes, is stored as the last version, and raises nothing', async () => {
  const bridge = new ReadingsDriver();
  const calm = await bridge.event(aReading({ ...night, hrv: 50 }));
  assert.deepEqual(calm.triggers, []);
  assert.deepEqual(bridge.storeEntries('alerts'), []);
  const deletion = await bridge.event(aDeletion(night));
  assert.deepEqual(deletion.supersedes, { event_id: calm.event_id, priority: 'NORMAL', alert_ids: [] });
});
