import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { schemes } from './schemes.ts';
import { verify, type Headers } from '../../vendors/verify.ts';

const secret = 'oura_client_secret_example';
const sentAt = 1781073668004;
// Oura's worked example: the same body signed with its time in milliseconds and in seconds.
const body = Buffer.from(
  '{"event_type":"update","data_type":"daily_sleep","object_id":"a3b0c1d2-5f64-4a7e-9d0b-1c2e3f405162",' +
    '"event_time":"2026-06-10T06:41:07.312000+00:00","user_id":"7c1f0e52-9b0d-4d38-8a39-2f6a51f4b0aa"}',
);
const inMs = {
  'x-oura-timestamp': '1781073668004',
  'x-oura-signature': '5AD079E5B7D567E4E68BCBB7030D4B74A0ECD607D8E95D2FAA341A87E6129F73',
};
const inS = {
  'x-oura-timestamp': '1781073668',
  'x-oura-signature': 'A6CD172B6B686CE91474EF0C04D22EF71BE3428391591EE41AFA784F5F8BB28B',
};

function check(headers: Headers, options: Partial<Parameters<typeof verify>[0]> = {}) {
  return verify({
    schemes: [schemes.oura, schemes.plain],
    headers,
    body,
    secrets: [secret],
    window: { pastMs: 4_500_000, futureMs: 300_000 },
    nowMs: sentAt + 1_700,
    ...options,
  });
}
function reason(headers: Headers, options: Partial<Parameters<typeof verify>[0]> = {}): string {
  const result = check(headers, options);
  return result.ok ? 'ok' : result.reason;
}
function plain(text: Buffer | string, key = secret): string {
  return createHmac('sha256', key).update(text).digest('hex');
}

test('the worked example of Oura has 197 bytes and verifies with its time in ms and in s', () => {
  assert.equal(body.length, 197);
  assert.deepEqual(check(inMs), { ok: true, scheme: 'oura', secretIndex: 0 });
  assert.deepEqual(check(inS), { ok: true, scheme: 'oura', secretIndex: 0 });
});

test('hexadecimal digits may be in either case', () => {
  assert.equal(reason({ ...inMs, 'x-oura-signature': inMs['x-oura-signature'].toLowerCase() }), 'ok');
});

test('the timestamp is signed exactly as in its header', () => {
  assert.equal(reason({ ...inMs, 'x-oura-timestamp': '1781073668005' }), 'signature_wrong');
  assert.equal(reason({ ...inS, 'x-oura-timestamp': '1781073668000' }), 'signature_wrong');
});

test('one changed byte of the body is a wrong signature', () => {
  assert.equal(
    reason(inMs, { body: Buffer.from(body.toString().replace('update', 'updatE')) }),
    'signature_wrong',
  );
  assert.equal(reason(inMs, { body: Buffer.concat([body, Buffer.from('\n')]) }), 'signature_wrong');
});

test('the plain signature covers the body alone, with or without the prefix sha256=', () => {
  assert.deepEqual(check({ signature: plain(body) }), { ok: true, scheme: 'plain', secretIndex: 0 });
  assert.equal(reason({ signature: `sha256=${plain(body).toUpperCase()}` }), 'ok');
  assert.equal(reason({ signature: `sha512=${plain(body)}` }), 'signature_malformed');
  assert.equal(reason({ signature: plain('') }, { body: Buffer.alloc(0) }), 'ok');
});

test('each of several secrets verifies, and its position is returned', () => {
  assert.deepEqual(check(inMs, { secrets: ['new', secret] }), { ok: true, scheme: 'oura', secretIndex: 1 });
  assert.deepEqual(check(inMs, { secrets: ['', secret] }), { ok: true, scheme: 'oura', secretIndex: 1 });
});

test('without a secret, and with empty ones only, nothing verifies', () => {
  assert.equal(reason(inMs, { secrets: [] }), 'no_secret');
  const madeWithEmptyKey = createHmac('sha256', '').update(body).digest('hex');
  assert.equal(reason({ signature: madeWithEmptyKey }, { secrets: [''] }), 'no_secret');
  assert.equal(reason({ signature: madeWithEmptyKey }, { secrets: ['', 'other'] }), 'signature_wrong');
});

test('a signature of another secret is wrong', () => {
  assert.equal(reason({ signature: plain(body, 'guess') }), 'signature_wrong');
});

test('the time window is closed at both ends', () => {
  const at = (offsetMs: number): string => reason(inMs, { nowMs: sentAt + offsetMs });
  assert.equal(at(4_500_000), 'ok');
  assert.equal(at(4_500_001), 'timestamp_too_old');
  assert.equal(at(-300_000), 'ok');
  assert.equal(at(-300_001), 'timestamp_in_future');
});

test('a missing, a repeated and a malformed header are distinguished', () => {
  const { 'x-oura-timestamp': timestamp, 'x-oura-signature': signature } = inMs;
  assert.equal(reason({}), 'signature_missing');
  assert.equal(reason({ 'x-oura-signature': '' }), 'signature_missing');
  assert.equal(reason({ 'x-oura-signature': [] }), 'signature_missing');
  assert.equal(reason({ 'x-oura-signature': signature }), 'timestamp_missing');
  assert.equal(reason({ 'x-oura-signature': [signature, signature] }), 'signature_ambiguous');
  assert.equal(
    reason({ 'x-oura-signature': [signature], 'x-oura-timestamp': [timestamp, timestamp] }),
    'timestamp_ambiguous',
  );
  assert.equal(reason({ 'x-oura-signature': [signature], 'x-oura-timestamp': [timestamp] }), 'ok');
  for (const malformed of [
    signature.slice(1),
    `${signature}0`,
    `g${signature.slice(1)}`,
    ` ${signature.slice(1)}`,
    'ä',
  ]) {
    assert.equal(reason({ ...inMs, 'x-oura-signature': malformed }), 'signature_malformed');
  }
  for (const malformed of [
    '178107366800',
    '17810736680040',
    '-178107366800',
    '1781073668.04',
    '2026-06-10T06:41:08Z',
    ' ',
  ]) {
    assert.equal(reason({ ...inMs, 'x-oura-timestamp': malformed }), 'timestamp_malformed');
  }
});

test("a request that fails its vendor's own scheme is not tried with the plain one", () => {
  const other = plain('other');
  assert.equal(reason({ ...inMs, 'x-oura-signature': other, signature: plain(body) }), 'signature_wrong');
});

test('the plain scheme is accepted only where it is enabled', () => {
  assert.equal(reason({ signature: plain(body) }, { schemes: [schemes.oura] }), 'signature_missing');
});

test('whatever the headers hold, the answer is a value', () => {
  const header = fc.option(fc.oneof(fc.string(), fc.array(fc.string())), { nil: undefined });
  fc.assert(
    fc.property(header, header, header, (signature, oura, timestamp) => {
      const result = check({ signature, 'x-oura-signature': oura, 'x-oura-timestamp': timestamp });
      assert.equal(result.ok, false);
    }),
  );
});
