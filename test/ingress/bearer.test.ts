import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { bearerToken } from '../../vendors/bearer.ts';
import { type SignatureScheme } from '../../vendors/signature.ts';
import { verify, type Headers } from '../../vendors/verify.ts';
import { schemes } from './schemes.ts';

const secret = 'healthkit_secret_example';
const body = Buffer.from('{"data":{"metrics":[]}}');

function check(
  headers: Headers,
  secrets: readonly string[] = [secret],
  inForce: readonly SignatureScheme[] = [schemes.bearer, schemes.plain],
) {
  return verify({
    schemes: inForce,
    headers,
    body,
    secrets,
    window: { pastMs: 0, futureMs: 300_000 },
    nowMs: 0,
  });
}
function answer(headers: Headers, secrets?: readonly string[]): string {
  const result = check(headers, secrets);
  return result.ok ? `${result.scheme} ${result.secretIndex} ${result.userId ?? '-'}` : result.reason;
}
const bearing = (token: string) => ({ authorization: `Bearer ${token}` });
const mac = (text: string, key = secret): string =>
  createHmac('sha256', key).update(text).digest('base64url');

test("a token is the user's id in base64url, a dot, and the digest of that text", () => {
  assert.equal(bearerToken('athlete-42 å', secret), 'YXRobGV0ZS00MiDDpQ.' + mac('YXRobGV0ZS00MiDDpQ'));
  assert.equal(Buffer.from('YXRobGV0ZS00MiDDpQ', 'base64url').toString(), 'athlete-42 å');
});

test('a token verifies for its user, whatever the id is', () => {
  for (const user of ['user-1', '10129', 'athlete-42 å', '日本', 'a.b', '?>~', 'x'.repeat(256), ' ']) {
    assert.equal(answer(bearing(bearerToken(user, secret))), `bearer 0 ${user}`);
  }
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }), (user) => {
      fc.pre(!user.includes('\0'));
      assert.equal(answer(bearing(bearerToken(user, secret))), `bearer 0 ${user}`);
    }),
  );
});

test('the word Bearer may be in any case and be followed by several spaces', () => {
  const token = bearerToken('user-1', secret);
  for (const word of ['bearer ', 'BEARER ', 'Bearer    ']) {
    assert.equal(answer({ authorization: word + token }), 'bearer 0 user-1');
  }
});

test('a token made with an older secret of the list is still valid', () => {
  const token = bearerToken('user-1', secret);
  assert.equal(answer(bearing(token), ['newest', 'new', secret]), 'bearer 2 user-1');
  assert.equal(answer(bearing(token), ['newest']), 'token_wrong');
  assert.equal(answer(bearing(token), []), 'no_secret');
  assert.equal(answer(bearing(bearerToken('user-1', '')), ['']), 'no_secret');
  assert.equal(answer(bearing(bearerToken('user-1', '')), ['', 'new']), 'token_wrong');
});

test('the digest of a token is valid for its own user only', () => {
  const [, digest = ''] = bearerToken('user-1', secret).split('.');
  const [other = ''] = bearerToken('user-2', secret).split('.');
  assert.equal(answer(bearing(`${other}.${digest}`)), 'token_wrong');
  // Over the id instead of its base64url.
  assert.equal(answer(bearing(`dXNlci0x.${mac('user-1')}`)), 'token_wrong');
});

test('a token in another encoding does not verify', () => {
  const token = bearerToken('user', secret);
  const [signed = '', digest = ''] = token.split('.');
  assert.equal(signed, 'dXNlcg');
  // The last characters hold bits that no byte needs: 'h' and 'g' decode alike.
  assert.equal(Buffer.from('dXNlch', 'base64url').toString(), 'user');
  const last = digest.at(-1)!;
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  const twin = digest.slice(0, -1) + alphabet[alphabet.indexOf(last) + 1]!;
  assert.deepEqual(Buffer.from(twin, 'base64url'), Buffer.from(digest, 'base64url'));
  for (const text of [
    `dXNlch.${mac('dXNlch')}`,
    `dXNlcg==.${mac('dXNlcg==')}`,
    `${signed}.${twin}`,
    `${signed}.${digest}=`,
    `${signed}.${Buffer.from(digest, 'base64url').toString('hex')}`,
    `${signed}.${digest.slice(0, -1)}`,
    `${token}.`,
    `${token}.x`,
    `${signed}.`,
    `.${digest}`,
    signed,
    `${token} ${token}`,
    `"${token}"`,
  ]) {
    assert.equal(answer(bearing(text)), 'token_malformed', text);
  }
});

test('a correct digest of an invalid user id does not verify', () => {
  for (const bytes of [Buffer.from([0xff]), Buffer.from('a\0b'), Buffer.from('x'.repeat(257))]) {
    const signed = bytes.toString('base64url');
    assert.equal(answer(bearing(`${signed}.${mac(signed)}`)), 'token_malformed');
  }
});

test('a header that is missing, repeated or of another kind is reported as such', () => {
  const { authorization } = bearing(bearerToken('user-1', secret));
  assert.equal(answer({}), 'token_missing');
  assert.equal(answer({ authorization: [''] }), 'token_missing');
  assert.equal(answer({ authorization: [authorization, authorization] }), 'token_ambiguous');
  for (const other of ['Basic dXNlcjpwYXNz', 'Bearer', 'Bearer ', authorization.slice('Bearer '.length)]) {
    assert.equal(answer({ authorization: other }), 'token_malformed');
  }
});

test('next to a plain signature, a token of the bridge is decisive, and a foreign one is ignored', () => {
  const signature = createHmac('sha256', secret).update(body).digest('hex');
  const right = bearerToken('user-1', secret);
  const wrong = bearerToken('user-1', 'guess');
  assert.equal(answer({ ...bearing(right), signature }), 'bearer 0 user-1');
  assert.equal(answer({ ...bearing(right), signature: 'zz' }), 'bearer 0 user-1');
  assert.equal(answer({ ...bearing(wrong), signature }), 'token_wrong');
  assert.equal(answer({ ...bearing('a.gateways.token'), signature }), 'plain 0 -');
  assert.equal(answer({ authorization: 'Basic dXNlcjpwYXNz', signature }), 'plain 0 -');
  assert.equal(answer({ ...bearing('a.gateways.token'), signature: 'zz' }), 'signature_malformed');
});

test('other vendors do not accept tokens', () => {
  const token = bearing(bearerToken('user-1', secret));
  assert.deepEqual(check(token, [secret], [schemes.plain]), { ok: false, reason: 'signature_missing' });
});
