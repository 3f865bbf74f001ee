import assert from 'node:assert/strict';
import { test } from 'node:test';
import { receivedAt } from './support.ts';
import { only, read, terra } from './vendor-payloads.ts';

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
    'an empty header beside the older one, and an ordering time ahead of that',
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
