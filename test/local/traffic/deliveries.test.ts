import assert from 'node:assert/strict';
import { test } from 'node:test';
import { schemes } from '../../ingress/schemes.ts';
import { vendors, byVendor } from '../../../vendors/index.ts';
import { verify } from '../../../vendors/verify.ts';
import { deliveries, type Delivery } from '../../../local/traffic/deliveries.ts';

const secrets = byVendor((device) => `secret of ${device}`);

function take(count: number, seed: number): Delivery[] {
  const traffic = deliveries({ seed, startMs: 1_790_000_000_000, secrets });
  return Array.from({ length: count }, () => traffic.next().value as Delivery);
}

test('a hundred deliveries hold every kind, and one of them is malformed', () => {
  const kinds = take(100, 7).map(({ kind }) => kind);
  const expected = [
    'bad_signature',
    'correction',
    'healthkit_reading',
    'malformed',
    'oura_notification',
    'oura_reading',
    'oura_signed_reading',
    'retry',
    'terra_control',
    'terra_dialect_reading',
    'terra_reading',
    'whoop_notification',
    'whoop_reading',
  ];
  assert.deepEqual([...new Set(kinds)].sort(), expected);
  assert.equal(kinds.filter((kind) => kind === 'malformed').length, 1);
});

test('the same seed gives the same bodies', () => {
  const bodies = (seed: number): string[] => take(300, seed).map(({ body }) => body.toString());
  assert.deepEqual(bodies(3), bodies(3));
  assert.notDeepEqual(bodies(3), bodies(4));
});

test('everything but the bad signatures verifies at the ingress, by the scheme of its vendor where it uses one', () => {
  const used = new Map<string, Set<string>>();
  for (const { kind, device, body, headers, expect } of take(300, 1)) {
    const result = verify({
      schemes: [...vendors[device].webhook.schemes, schemes.plain],
      headers,
      body,
      secrets: [secrets[device]],
      window: { pastMs: 60_000, futureMs: 60_000 },
      nowMs: Date.now(),
    });
    assert.equal(result.ok, kind !== 'bad_signature');
    if (!result.ok) continue;
    used.set(kind, (used.get(kind) ?? new Set()).add(result.scheme));
    if (result.userId !== undefined && expect.outcome === 'event')
      assert.equal(result.userId, expect.event.user_id);
  }
  const schemeOf = (kind: string): string[] => [...(used.get(kind) ?? [])];
  assert.deepEqual(schemeOf('oura_notification'), ['oura']);
  assert.deepEqual(schemeOf('oura_signed_reading'), ['oura']);
  assert.deepEqual(schemeOf('whoop_notification'), ['whoop']);
  assert.deepEqual(schemeOf('terra_control'), ['terra']);
  assert.deepEqual(schemeOf('healthkit_reading'), ['bearer']);
  assert.deepEqual(schemeOf('whoop_reading'), ['plain']);
});

test('a correction has other values for a resource that was sent before', () => {
  const sent = new Map<string, string>();
  let corrections = 0;
  for (const { kind, body, expect } of take(400, 11)) {
    if (expect.outcome !== 'event') continue;
    const key = `${expect.event.device_type} ${expect.event.user_id} ${expect.event.resource_id}`;
    if (kind === 'correction' && sent.has(key)) {
      corrections += 1;
      assert.notEqual(sent.get(key), body.toString());
    }
    sent.set(key, body.toString());
  }
  assert.ok(corrections >= 10);
});
