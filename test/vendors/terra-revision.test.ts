import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { rawRecord } from '../../ingress/raw-record.ts';
import { schemes } from '../ingress/schemes.ts';
import { vendors } from '../../vendors/index.ts';
import { readClaim } from '../../vendors/verify.ts';
import { receivedAt } from '../topology/support.ts';
import { only, read, terra } from './payloads.ts';

const t = Math.floor(receivedAt / 1_000);
const signed = `t=${t},v1=${'0'.repeat(64)}`;
for (const [what, headers, revision] of [
  ['neither header', {}, null],
  ['the signed time alone', { 'x-terra-signature': signed }, t * 1_000],
  ['the older header alone', { 'terra-signature': signed }, t * 1_000],
  ['the last of several t', { 'x-terra-signature': `t=${t - 9},t=${t - 1},v1=0` }, (t - 1) * 1_000],
  ['spaces', { 'x-terra-signature': ` t=${t} , v1=0` }, t * 1_000],
  ['the ordering time alone', { 'x-terra-ordering-timestamp': String(receivedAt - 5) }, receivedAt - 5],
  [
    'an ordering time of hours before',
    { 'x-terra-signature': signed, 'x-terra-ordering-timestamp': String(receivedAt - 9_000_000) },
    receivedAt - 9_000_000,
  ],
  [
    'an ordering time 300 s ahead of the signed one',
    { 'x-terra-signature': signed, 'x-terra-ordering-timestamp': String(t * 1_000 + 300_000) },
    t * 1_000 + 300_000,
  ],
  [
    'one that is further ahead',
    { 'x-terra-signature': signed, 'x-terra-ordering-timestamp': String(t * 1_000 + 300_001) },
    t * 1_000,
  ],
  [
    'an ordering time ahead of the arrival, unsigned',
    { 'x-terra-ordering-timestamp': String(receivedAt + 300_001) },
    null,
  ],
  [
    'both ahead of the arrival',
    {
      'x-terra-signature': `t=${t + 400},v1=0`,
      'x-terra-ordering-timestamp': String(receivedAt + 300_001),
    },
    null,
  ],
  ['an ordering time of 0', { 'x-terra-signature': signed, 'x-terra-ordering-timestamp': '0' }, t * 1_000],
  ['one in seconds', { 'x-terra-signature': signed, 'x-terra-ordering-timestamp': String(t) }, t * 1_000],
  ['a t of 0', { 'x-terra-signature': 't=0,v1=0' }, null],
  ['a t in ms', { 'x-terra-signature': `t=${receivedAt},v1=0` }, null],
  [
    'an empty header next to the older one, and an ordering time ahead of that',
    {
      'x-terra-signature': '',
      'terra-signature': `t=${t - 9_000},v1=0`,
      'x-terra-ordering-timestamp': String(receivedAt),
    },
    (t - 9_000) * 1_000,
  ],
  [
    'a time that verification passes over, behind the signed one',
    { 'x-terra-signature': `t=${t - 9_000},v1=0,t =${t}` },
    (t - 9_000) * 1_000,
  ],
  ['nonsense', { 'x-terra-signature': 'x', 'x-terra-ordering-timestamp': 'soon' }, null],
] as const) {
  test(`the revision of a Terra payload with ${what}`, () => {
    const reading = only(read('terra', terra('daily', { scores: { sleep: 80 } }), headers));
    assert.equal(reading.revision, revision);
  });
}

test('an ordering time is compared with the time that verification used, however the headers are written', () => {
  const times = [t - 9_000, t - 8_000, t - 7_000];
  const field = fc.oneof(
    fc.constantFrom(
      ...times.flatMap((time) => [`t=${time}`, ` t=${time} `, `t =${time}`, `T=${time}`, `t=${time}0`]),
    ),
    fc.constantFrom(`v1=${'0'.repeat(64)}`, 'v1=', 't=', '', 'x'.repeat(1_000)),
  );
  const header = fc.option(
    fc.array(field, { maxLength: 5 }).map((fields) => fields.join(',')),
    { nil: undefined },
  );
  let accepted = 0;
  fc.assert(
    fc.property(header, header, (newer, older) => {
      const sent = {
        ...(newer === undefined ? {} : { 'x-terra-signature': newer.trim() }),
        ...(older === undefined ? {} : { 'terra-signature': older.trim() }),
      };
      const claim = readClaim([schemes.terra], sent, { pastMs: 90_000_000, futureMs: 300_000 }, receivedAt);
      if (!claim.ok) return;
      accepted += 1;
      const headers = { ...sent, 'x-terra-ordering-timestamp': String(receivedAt) };
      const facts = { receivedAtMs: receivedAt, headers, keptHeaders: vendors.terra.webhook.keptHeaders };
      const kept = rawRecord(
        { topic: 'raw.terra', partitions: 1 },
        Buffer.from('u'),
        Buffer.from('{}'),
        facts,
      );
      const texts = Object.entries(kept.headers).map(([name, value]) => [name, value.toString()] as const);
      const reading = only(
        read('terra', terra('daily', { scores: { sleep: 80 } }), Object.fromEntries(texts)),
      );
      assert.equal(reading.revision, Number(claim.timestamp) * 1_000);
    }),
    { numRuns: 5_000 },
  );
  assert.ok(accepted > 100, `only ${accepted} headers were accepted`);
});
