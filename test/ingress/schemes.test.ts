import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { bearerToken } from '../../vendors/bearer.ts';
import { type SignatureScheme } from '../../vendors/signature.ts';
import { verify, type Headers } from '../../vendors/verify.ts';
import { schemes } from './schemes.ts';

interface Options {
  readonly body?: Buffer;
  readonly secrets?: readonly string[];
  readonly nowMs?: number;
  readonly toleranceS?: number;
}

function reasonWith(scheme: SignatureScheme, headers: Headers, options: Options, example: Example): string {
  const result = verify({
    schemes: [scheme, schemes.plain],
    headers,
    body: options.body ?? example.body,
    secrets: options.secrets ?? [example.secret],
    window: {
      pastMs: (options.toleranceS ?? scheme.timestamp?.toleranceS ?? 0) * 1_000,
      futureMs: 300_000,
    },
    nowMs: options.nowMs ?? example.sentAtMs,
  });
  return result.ok ? `${result.scheme} ${result.secretIndex}` : result.reason;
}

interface Example {
  readonly secret: string;
  readonly sentAtMs: number;
  readonly bytes: number;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

const whoop: Example = {
  secret: 'whoop_client_secret_example',
  sentAtMs: 1_781_101_544_774,
  bytes: 137,
  body: Buffer.from(
    '{"user_id":10129,"id":"ecfc6a15-4661-442f-a9a4-f160dd7afae8","type":"recovery.updated","trace_id":"e369c784-5100-49e8-8098-75d35c47b31b"}',
  ),
  headers: {
    'x-whoop-signature-timestamp': '1781101544774',
    'x-whoop-signature': 'HzKBuzBG60SGnvV6oer/xBIHg1hgA9Nx/vH5vSv4WqQ=',
  },
};

const terraDigest = 'd34310e7e70638fdf8af0429f03be560970e112805ee80a8729e2d50352d1366';
const terra: Example = {
  secret: 'terra_signing_secret_example',
  sentAtMs: 1_781_114_412_000,
  bytes: 177,
  body: Buffer.from(
    '{"status":"success","type":"daily","user":{"user_id":"4735eac4-31a2-47ef-8b11-51e98d84c680","provider":"GARMIN","reference_id":"athlete-42 å"},"data":[],"version":"2022-03-16"}',
  ),
  headers: { 'x-terra-signature': `t=1781114412,v1=${terraDigest}` },
};

describe("WHOOP's scheme", () => {
  const reason = (headers: Headers, options: Options = {}): string =>
    reasonWith(schemes.whoop, headers, options, whoop);
  const signature = whoop.headers['x-whoop-signature']!;
  const withSignature = (text: string): string => reason({ ...whoop.headers, 'x-whoop-signature': text });

  test('verifies the worked example, of 137 bytes', () => {
    assert.equal(whoop.body.length, whoop.bytes);
    assert.equal(reason(whoop.headers), 'whoop 0');
  });

  test('reads padded base64 of the standard alphabet, and no other encoding of the same bytes', () => {
    const bytes = Buffer.from(signature, 'base64');
    for (const other of [
      bytes.toString('hex'),
      bytes.toString('base64url'),
      signature.slice(0, -1),
      `${signature}=`,
      `${signature.slice(0, -2)}R=`,
      signature.replace('/', '_'),
      `${signature} x`,
      bytes.subarray(1).toString('base64'),
      '=',
    ]) {
      assert.equal(withSignature(other), 'signature_malformed', other);
    }
  });

  test('accepts no dot between timestamp and body', () => {
    const timestamp = whoop.headers['x-whoop-signature-timestamp']!;
    const dotted = createHmac('sha256', whoop.secret).update(`${timestamp}.`).update(whoop.body);
    assert.equal(withSignature(dotted.digest('base64')), 'signature_wrong');
  });

  test('reads its timestamp in milliseconds only', () => {
    const timestamp = '1781101544';
    const digest = createHmac('sha256', whoop.secret).update(timestamp).update(whoop.body).digest('base64');
    const inS = { 'x-whoop-signature-timestamp': timestamp, 'x-whoop-signature': digest };
    assert.equal(reason(inS), 'timestamp_malformed');
  });

  test('admits the hour of retries by default', () => {
    assert.equal(reason(whoop.headers, { nowMs: whoop.sentAtMs + 4_500_000 }), 'whoop 0');
    assert.equal(reason(whoop.headers, { nowMs: whoop.sentAtMs + 4_500_001 }), 'timestamp_too_old');
    assert.equal(reason(whoop.headers, { nowMs: whoop.sentAtMs - 300_001 }), 'timestamp_in_future');
  });
});

describe("Terra's scheme", () => {
  const reason = (headers: Headers, options: Options = {}): string =>
    reasonWith(schemes.terra, headers, options, terra);
  const header = terra.headers['x-terra-signature']!;
  const other = 'ab'.repeat(32);

  test('verifies the worked example, of 177 bytes, two of them an å', () => {
    assert.equal(terra.body.length, terra.bytes);
    assert.equal(reason(terra.headers), 'terra 0');
  });

  test('is found under either name, and under both', () => {
    assert.equal(reason({ 'terra-signature': header }), 'terra 0');
    assert.equal(reason({ 'x-terra-signature': header, 'terra-signature': header }), 'terra 0');
    assert.equal(reason({ 'x-terra-signature': '', 'terra-signature': header }), 'terra 0');
  });

  test('uses the newer name where the two differ', () => {
    const wrong = `t=1781114412,v1=${other}`;
    assert.equal(reason({ 'x-terra-signature': header, 'terra-signature': wrong }), 'terra 0');
    assert.equal(reason({ 'x-terra-signature': wrong, 'terra-signature': header }), 'signature_wrong');
    assert.equal(
      reason({ 'x-terra-signature': 'nonsense', 'terra-signature': header }),
      'signature_malformed',
    );
  });

  const v1 = `v1=${terraDigest}`;
  for (const [title, text, expected] of [
    ['the order of the fields does not matter', `${v1},t=1781114412`, 'terra 0'],
    ['white space around the fields is left out', ` t=1781114412 , ${v1} `, 'terra 0'],
    ['of several v1 one has to be right, the last', `t=1781114412,v1=${other},${v1}`, 'terra 0'],
    ['of several v1 one has to be right, the first', `t=1781114412,${v1},v1=${other}`, 'terra 0'],
    ['a malformed v1 next to a correct one is ignored', `t=1781114412,v1=zz,v1=,${v1}`, 'terra 0'],
    ['of several v1 none is right', `t=1781114412,v1=${other},v1=${other}`, 'signature_wrong'],
    [
      'a right digest of another scheme counts for nothing',
      `t=1781114412,v0=${terraDigest}`,
      'signature_malformed',
    ],
    ['other schemes are passed over', `t=1781114412,v0=${other},${v1},v2=x,flag`, 'terra 0'],
    ['the last t counts', `t=1,t=1781114412,${v1}`, 'terra 0'],
    ['a first t does not count', `t=1781114412,t=1781114413,${v1}`, 'signature_wrong'],
    ['hexadecimal digits may be of either case', `t=1781114412,v1=${terraDigest.toUpperCase()}`, 'terra 0'],
    ['names of fields are lower case', `T=1781114412,V1=${terraDigest}`, 'signature_malformed'],
    ['a t is needed', v1, 'timestamp_missing'],
    ['an empty t is none', `t=,${v1}`, 'timestamp_missing'],
    ['an empty last t is none', `t=1781114412,t=,${v1}`, 'timestamp_missing'],
    ['t is in seconds', `t=1781114412000,${v1}`, 'timestamp_malformed'],
    ['t is digits', `t=+781114412,${v1}`, 'timestamp_malformed'],
    ['t is not repaired', `t=01781114412,${v1}`, 'timestamp_malformed'],
    ['a digest alone is none', terraDigest, 'signature_malformed'],
    [
      'a value goes on behind its first equals sign',
      `t=1781114412,v1=${terraDigest}=`,
      'signature_malformed',
    ],
    ['commas alone say nothing', ',,,', 'signature_malformed'],
  ] as const) {
    test(title, () => assert.equal(reason({ 'x-terra-signature': text }), expected));
  }

  test('is refused when it is longer than the raw record keeps of a header', () => {
    const padded = (length: number): string =>
      reason({ 'x-terra-signature': `t=1781114412,v1=${terraDigest},`.padEnd(length, 'x') });
    assert.equal(padded(1_024), 'terra 0');
    assert.equal(padded(1_025), 'signature_malformed');
  });

  test('the dot between t and the body is signed', () => {
    const undotted = createHmac('sha256', terra.secret).update('1781114412').update(terra.body).digest('hex');
    assert.equal(reason({ 'x-terra-signature': `t=1781114412,v1=${undotted}` }), 'signature_wrong');
  });

  test('a repeated header is ambiguous, under either name', () => {
    assert.equal(reason({ 'x-terra-signature': [header, header] }), 'signature_ambiguous');
    const doubled = { 'x-terra-signature': [header], 'terra-signature': [header, header] };
    assert.equal(reason(doubled), 'signature_ambiguous');
  });

  test('admits the day of retries by default, and the configured time where it is configured', () => {
    assert.equal(reason(terra.headers, { nowMs: terra.sentAtMs + 90_000_000 }), 'terra 0');
    assert.equal(reason(terra.headers, { nowMs: terra.sentAtMs + 90_000_001 }), 'timestamp_too_old');
    assert.equal(reason(terra.headers, { nowMs: terra.sentAtMs - 300_001 }), 'timestamp_in_future');
    const strict = { nowMs: terra.sentAtMs + 300_001, toleranceS: 300 };
    assert.equal(reason(terra.headers, strict), 'timestamp_too_old');
  });

  test('the secrets of several destinations may be listed', () => {
    assert.equal(reason(terra.headers, { secrets: ['staging', '', terra.secret] }), 'terra 2');
    assert.equal(reason(terra.headers, { secrets: ['staging'] }), 'signature_wrong');
  });
});

describe('with any headers and any body', () => {
  const byName = Object.fromEntries(
    [
      ...Object.values(schemes).flatMap(({ headers }) => [...headers]),
      'x-oura-timestamp',
      'x-whoop-signature-timestamp',
    ].map((name) => [name, 0]),
  );
  const hexDigest = fc.stringMatching(/^[0-9a-fA-F]{64}$/);
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    hexDigest,
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('base64')),
    fc.constantFrom('1781114412', '1781114412000', '', ' ', ',', '=', '.', 'Bearer ', 'Bearer .'),
    fc.tuple(fc.string(), hexDigest).map(([t, digest]) => `t=${t},v1=${digest}`),
    fc
      .tuple(fc.string({ minLength: 1 }), fc.string())
      .map(([user, key]) => `Bearer ${bearerToken(user, `not ${key}`)}`),
    fc.tuple(fc.string(), fc.string()).map(([u, digest]) => `Bearer ${u}.${digest}`),
  );
  const value = fc.option(fc.oneof(text, fc.array(text, { maxLength: 3 })), { nil: undefined });
  const headers = fc.record(Object.fromEntries(Object.keys(byName).map((name) => [name, value])), {
    requiredKeys: [],
  });

  test('the answer is a value, and never an acceptance', () => {
    fc.assert(
      fc.property(
        fc.subarray(Object.values(schemes)),
        headers,
        fc.uint8Array(),
        fc.array(fc.string({ maxLength: 3 })),
        (inForce, sent, body, secrets) => {
          const result = verify({
            schemes: inForce,
            headers: sent,
            body: Buffer.from(body),
            secrets: secrets.map((secret) => `secret ${secret}`),
            window: { pastMs: 90_000_000, futureMs: 300_000 },
            nowMs: 1_781_114_412_000,
          });
          assert.equal(result.ok, false);
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test('a correctly signed request is distinguished from one with any byte changed', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1 }),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (bytes, at, change) => {
          const body = Buffer.from(bytes);
          const key = 'whoop_client_secret_example';
          const sign = (encoding: 'hex' | 'base64', ...parts: (string | Buffer)[]): string => {
            const hmac = createHmac('sha256', key);
            for (const part of parts) hmac.update(part);
            return hmac.digest(encoding);
          };
          const sent = {
            oura: { 'x-oura-timestamp': '1781114412', 'x-oura-signature': sign('hex', '1781114412', body) },
            whoop: {
              'x-whoop-signature-timestamp': '1781114412000',
              'x-whoop-signature': sign('base64', '1781114412000', body),
            },
            terra: { 'terra-signature': `t=1781114412,v1=${sign('hex', '1781114412.', body)}` },
            plain: { signature: sign('hex', body) },
          };
          const changed = Buffer.from(body);
          changed[at % body.length]! ^= change;
          for (const [name, right] of Object.entries(sent)) {
            const answer = (content: Buffer) =>
              verify({
                schemes: [schemes[name as keyof typeof sent]],
                headers: right,
                body: content,
                secrets: [key],
                window: { pastMs: 0, futureMs: 0 },
                nowMs: 1_781_114_412_000,
              });
            assert.deepEqual(answer(body), { ok: true, scheme: name, secretIndex: 0 });
            assert.deepEqual(answer(changed), { ok: false, reason: 'signature_wrong' });
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
