import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { keyPartition } from '../../kafka/client.ts';
import {
  call,
  hex,
  partitions,
  secrets,
  signed,
  testIngress,
  testTopics,
  text,
  until,
  type Answer,
  type TestTopics,
} from './harness.ts';

type Vendor = keyof TestTopics['names']['raw'];
const ouraSecret = 'oura-secret-of-the-tests';

let unique = 0;
/** A body that no other test sends. */
function simple(user: unknown = 'test_user'): string {
  unique += 1;
  return JSON.stringify({
    user_id: user,
    timestamp: '2025-07-30T12:00:00Z',
    hrv_data: { rmssd: 20 },
    unique,
  });
}
function hashKey(body: string | Buffer): string {
  return `sha256:${createHash('sha256').update(body).digest('hex').slice(0, 32)}`;
}
function assertProblem(answer: Answer, status: number, code: string): void {
  assert.equal(answer.status, status, answer.body);
  assert.equal(answer.headers['content-type'], 'application/problem+json');
  const problem = answer.json();
  assert.deepEqual(Object.keys(problem), ['type', 'title', 'status', 'detail', 'code']);
  assert.equal(problem['type'], 'about:blank');
  assert.equal(problem['status'], status);
  assert.equal(problem['code'], code);
  if (status === 503) assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
}

describe('the webhooks of an ingress', { timeout: 120_000 }, () => {
  let topics: TestTopics;
  let ingress: Awaited<ReturnType<typeof testIngress>>;
  let port = 0;

  before(async () => {
    topics = await testTopics();
    ingress = await testIngress(topics);
    port = ingress.port;
  });
  after(async () => {
    await ingress.stop();
    await topics.close();
  });

  async function records(vendor: Vendor, body: string | Buffer) {
    const all = await topics.read(topics.names.raw[vendor]);
    return all.filter(({ value }) => value?.equals(Buffer.from(body)));
  }
  async function keyOf(vendor: Vendor, body: string | Buffer): Promise<string | undefined> {
    const found = await records(vendor, body);
    assert.equal(found.length, 1, 'the body occurs once in the raw topic');
    return text(found[0]!.key);
  }
  async function headersOf(vendor: Vendor, body: string): Promise<Record<string, string | undefined>> {
    const [found] = await records(vendor, body);
    return Object.fromEntries(Object.entries(found!.headers).map(([name, value]) => [name, text(value)]));
  }

  for (const vendor of ['oura', 'whoop', 'terra', 'healthkit'] as const) {
    test(`a signed simple body for ${vendor} is appended byte for byte under the user's id`, async () => {
      const body = ` ${simple()}\n`;
      const sentAt = Date.now();
      const answer = await signed(port, vendor, body, {
        headers: {
          'content-type': 'application/json; charset=utf-8',
          authorization: 'Bearer never-kept',
          cookie: 'no',
        },
      });
      assert.equal(answer.status, 200);
      assert.equal(answer.body, `{"status":"processed","device":"${vendor}"}`);
      assert.equal(answer.headers['content-type'], 'application/json');

      const [record] = await records(vendor, body);
      assert.equal(text(record!.key), 'test_user');
      assert.equal(record!.partition, keyPartition(Buffer.from('test_user'), partitions));
      const { traceparent, received_at: receivedAt, signature, ...rest } = await headersOf(vendor, body);
      assert.deepEqual(rest, {
        content_type: 'application/json; charset=utf-8',
        scheme: 'plain',
        secret: '0',
      });
      assert.match(signature ?? '', /^[0-9a-f]{64}$/);
      assert.match(traceparent ?? '', /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
      assert.equal(record!.timestamp, Number(receivedAt));
      assert.ok(Number(receivedAt) >= sentAt && Number(receivedAt) <= Date.now());
    });
  }

  test("Oura's own scheme verifies, with any of the secrets, and its headers are kept", async () => {
    for (const [place, secret] of secrets.OURA_WEBHOOK_SECRET.split(',').entries()) {
      const body = simple();
      const timestamp = String(Date.now());
      const signature = hex(secret, timestamp, body).toUpperCase();
      const answer = await call({
        port,
        path: '/webhook/oura',
        body,
        headers: {
          'X-Oura-Signature': signature,
          'X-Oura-Timestamp': timestamp,
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        },
      });
      assert.equal(answer.status, 200);
      const { received_at: receivedAt, ...headers } = await headersOf('oura', body);
      assert.match(receivedAt ?? '', /^\d{13}$/);
      assert.deepEqual(headers, {
        scheme: 'oura',
        secret: String(place),
        traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        'x-oura-signature': signature,
        'x-oura-timestamp': timestamp,
      });
    }
  });

  test('the headers a vendor adds are kept verbatim up to 1 KiB each', async () => {
    const body = simple();
    await signed(port, 'terra', body, {
      headers: {
        'X-Terra-Trace-Id': 'trace-1',
        'terra-reference': 'r'.repeat(1024),
        'x-terra-ordering-timestamp': 'o'.repeat(1025),
        'x-unknown': 'no',
      },
    });
    const headers = await headersOf('terra', body);
    assert.equal(headers['x-terra-trace-id'], 'trace-1');
    assert.equal(headers['terra-reference']?.length, 1024);
    assert.equal('x-terra-ordering-timestamp' in headers, false);
    assert.equal('x-unknown' in headers, false);

    const exported = simple();
    await signed(port, 'healthkit', exported, {
      headers: { 'Automation-Name': 'Export ä', 'automation-id': '7', 'session-id': 's' },
    });
    const kept = await headersOf('healthkit', exported);
    assert.deepEqual([kept['automation-id'], kept['session-id']], ['7', 's']);
    assert.ok('automation-name' in kept);
  });

  describe('401: what cannot be verified', () => {
    async function refused(
      code: string,
      headers: Record<string, string | string[]>,
      body = simple(),
    ): Promise<void> {
      const answer = await call({ port, path: '/webhook/oura', body, headers });
      assertProblem(answer, 401, code);
      assert.ok(answer.headers['www-authenticate']);
      assert.deepEqual(await records('oura', body), []);
    }
    const now = (): string => String(Date.now());

    test('a missing signature', () => refused('signature_missing', {}));
    test('a wrong one', () => refused('signature_wrong', { signature: hex('guess', 'x') }));
    test('a malformed one', () => refused('signature_malformed', { signature: 'zz' }));
    test('one that was sent twice', () => {
      const body = simple();
      const signature = hex(ouraSecret, body);
      return refused('signature_ambiguous', { signature: [signature, signature] }, body);
    });
    test('a timestamp that is missing, malformed, too old or too far ahead', async () => {
      const body = simple();
      const sign = (timestamp: string) => ({
        'x-oura-timestamp': timestamp,
        'x-oura-signature': hex(ouraSecret, timestamp, body),
      });
      await refused('timestamp_missing', { 'x-oura-signature': hex(ouraSecret, body) }, body);
      await refused('timestamp_malformed', sign('yesterday'), body);
      await refused('timestamp_too_old', sign(String(Date.now() - 4_501_000)), body);
      await refused('timestamp_in_future', sign(String(Date.now() + 310_000)), body);
    });
    test("a body that was signed for another vendor's route", async () => {
      const body = simple();
      const answer = await call({
        port,
        path: '/webhook/whoop',
        body,
        headers: { signature: hex(ouraSecret, body) },
      });
      assertProblem(answer, 401, 'signature_wrong');
    });
    test("a wrong signature of Oura's scheme next to a valid plain one", () => {
      const body = simple();
      const headers = {
        'x-oura-signature': hex('guess', body),
        'x-oura-timestamp': now(),
        signature: hex(ouraSecret, body),
      };
      return refused('signature_wrong', headers, body);
    });
  });

  describe('bodies that are authentic but not readings', () => {
    for (const [title, body] of [
      ['text', 'this is not JSON'],
      ['nothing', ''],
      ['bytes that are not UTF-8', Buffer.from([0x7b, 0xff, 0x7d])],
      ['half an object', '{"user_id":"test_user"'],
    ] as const) {
      test(`${title}: 400, kept under its hash`, async () => {
        assertProblem(await signed(port, 'whoop', body), 400, 'not_json');
        assert.equal(await keyOf('whoop', body), hashKey(body));
      });
    }

    for (const body of [
      'null',
      '[]',
      '7',
      '"text"',
      '{}',
      '{"user_id":""}',
      '{"user_id":null}',
      '{"user_id":{"a":1}}',
    ]) {
      test(`JSON without a user, ${body}: 200, kept under its hash`, async () => {
        assert.equal((await signed(port, 'healthkit', body)).status, 200);
        assert.equal(await keyOf('healthkit', body), hashKey(body));
      });
    }

    test("a control event, and a body that looks like the bridge's own envelope: 200, kept under their hash", async () => {
      const control = JSON.stringify({
        type: 'user_reauth',
        new_user: { user_id: 'new' },
        old_user: { user_id: 'old' },
      });
      assert.equal((await signed(port, 'terra', control)).status, 200);
      assert.equal(await keyOf('terra', control), hashKey(control));
      const envelope = JSON.stringify({ notification: { user_id: 'x' }, resource: { score: 1 } });
      assert.equal((await signed(port, 'oura', envelope)).status, 200);
      assert.equal(await keyOf('oura', envelope), hashKey(envelope));
    });
  });

  describe('the key of a record', () => {
    test('the digits of a number are kept unchanged, even beyond 2^53', async () => {
      for (const digits of ['10129', '9007199254740993', '9223372036854775807']) {
        const body = simple('@').replace('"@"', digits);
        assert.equal((await signed(port, 'whoop', body)).status, 200);
        assert.equal(await keyOf('whoop', body), digits);
      }
    });

    test("Terra's reference id takes precedence over its user id", async () => {
      const both = JSON.stringify({
        type: 'daily',
        user: { user_id: 'theirs', reference_id: 'ours' },
        unique: 'both',
      });
      const one = JSON.stringify({
        type: 'daily',
        user: { user_id: 'theirs', reference_id: null },
        unique: 'one',
      });
      assert.equal((await signed(port, 'terra', both)).status, 200);
      assert.equal((await signed(port, 'terra', one)).status, 200);
      assert.equal(await keyOf('terra', both), 'ours');
      assert.equal(await keyOf('terra', one), 'theirs');
    });

    test('an Oura notification is keyed by its user', async () => {
      const body =
        '{"event_type":"update","data_type":"daily_sleep","object_id":"o","user_id":"7c1f0e52-9b0d"}';
      assert.equal((await signed(port, 'oura', body)).status, 200);
      assert.equal(await keyOf('oura', body), '7c1f0e52-9b0d');
    });
  });

  test('a body with a Content-Encoding other than identity gets 415', async () => {
    const body = simple();
    const zipped = gzipSync(body);
    assertProblem(
      await signed(port, 'oura', zipped, { headers: { 'content-encoding': 'gzip' } }),
      415,
      'content_encoding',
    );
    assert.equal(
      (await signed(port, 'oura', body, { headers: { 'content-encoding': 'identity' } })).status,
      200,
    );
  });

  test('a chunked body is accepted like any other', async () => {
    const body = simple();
    assert.equal((await signed(port, 'oura', body, { chunkBytes: 16 })).status, 200);
    assert.equal(await keyOf('oura', body), 'test_user');
  });

  test('a sender that expects 100 Continue gets it, and a bad one is refused before it sends', async () => {
    const body = simple();
    assert.equal((await signed(port, 'oura', body, { headers: { expect: '100-continue' } })).status, 200);
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
    const ended = new Promise((resolve) => socket.once('close', resolve));
    socket.write(
      'POST /webhook/oura HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\nexpect: 100-continue\r\n\r\n',
    );
    await ended;
    assert.match(answer, /^HTTP\/1\.1 401 /);
  });

  test('unknown paths get 404, other methods 405 with Allow, and none ever gets 410', async () => {
    for (const path of [
      '/',
      '/webhook',
      '/webhook/fitbit',
      '/webhook/oura/',
      '/Webhook/oura',
      '/webhook/%zz',
      '//webhook/oura',
    ]) {
      assertProblem(await call({ port, path, body: '{}' }), 404, 'not_found');
    }
    for (const [method, path, allow] of [
      ['GET', '/webhook/whoop', 'POST, OPTIONS'],
      ['PUT', '/webhook/oura', 'GET, POST, HEAD, OPTIONS'],
      ['DELETE', '/webhook/terra', 'POST, OPTIONS'],
      ['HEAD', '/webhook/test', 'POST, OPTIONS'],
      ['POST', '/health', 'GET, HEAD, OPTIONS'],
    ] as const) {
      const answer = await call({ port, path, method });
      assert.equal(answer.status, 405, `${method} ${path}`);
      assert.equal(answer.headers['allow'], allow);
      if (method !== 'HEAD') assertProblem(answer, 405, 'method_not_allowed');
    }
    const options = await call({ port, path: '/webhook/whoop', method: 'OPTIONS' });
    assert.deepEqual([options.status, options.headers['allow'], options.body], [204, 'POST, OPTIONS', '']);
    const head = await call({ port, path: '/livez', method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '3', '']);
  });

  describe("Oura's challenge", () => {
    const ask = (query: string): Promise<Answer> =>
      call({ port, path: `/webhook/oura${query}`, method: 'GET' });
    const token = secrets.OURA_VERIFICATION_TOKEN;

    test('is returned unchanged for the correct token', async () => {
      const answer = await ask(`?verification_token=${token}&challenge=a%2Bb%20%C3%A4`);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['content-type'], 'application/json');
      assert.equal(answer.body, '{"challenge":"a+b ä"}');
    });
    test('is refused for a wrong token, and for anything missing or repeated', async () => {
      assertProblem(await ask(`?verification_token=${token}x&challenge=c`), 401, 'wrong_token');
      assertProblem(await ask('?challenge=c'), 400, 'bad_challenge');
      assertProblem(await ask(`?verification_token=${token}`), 400, 'bad_challenge');
      assertProblem(await ask(`?verification_token=${token}&challenge=`), 400, 'bad_challenge');
      assertProblem(await ask(`?verification_token=${token}&challenge=c&challenge=d`), 400, 'bad_challenge');
      assertProblem(
        await ask(`?verification_token=wrong&verification_token=${token}&challenge=c`),
        400,
        'bad_challenge',
      );
      assertProblem(await ask(''), 400, 'bad_challenge');
    });
  });

  describe('the test webhook', () => {
    test('accepts any body without a signature, and appends it to all partitions in turn, without a key', async () => {
      for (let sent = 0; sent < partitions; sent += 1) {
        const answer = await call({ port, path: '/webhook/test', body: `test ${sent}` });
        assert.equal(answer.status, 200);
        assert.equal(answer.body, '{"status":"processed","device":"test"}');
      }
      const all = await topics.read(topics.names.test);
      assert.deepEqual(all.map(({ partition }) => partition).sort(), [0, 1, 2, 3]);
      assert.ok(all.every(({ key, headers }) => key === null && text(headers['scheme']) === 'none'));
    });
    test('accepts 64 KiB and no more, also for several at once', async () => {
      const largest = Buffer.alloc(64 * 1024, 'x');
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => call({ port, path: '/webhook/test', body: largest })),
      );
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
      const larger = Buffer.alloc(64 * 1024 + 1, 'x');
      assertProblem(await call({ port, path: '/webhook/test', body: larger }), 413, 'body_too_large');
    });
  });

  test('a sender that disconnects within its body frees its place', async () => {
    const small = await testIngress(topics, { MAX_CONCURRENT_WEBHOOKS: '2' });
    try {
      for (let left = 0; left < 5; left += 1) {
        const socket = connect(small.port, '127.0.0.1');
        const head = `POST /webhook/oura HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\nsignature: ${hex('a', '')}\r\n\r\n{`;
        await new Promise<void>((resolve) => socket.write(head, () => resolve()));
        socket.destroy();
      }
      await until(async () => {
        const levels = await call({
          port: small.port,
          path: '/metrics',
          method: 'GET',
          headers: { accept: 'text/plain' },
        });
        return (
          /outcome="incomplete_body"\} 5/.test(levels.body) &&
          /webhooks_in_hand 0/.test(levels.body) &&
          /large_body_bytes 0/.test(levels.body)
        );
      }, 'all five are given up');
      assert.equal((await signed(small.port, 'oura', simple())).status, 200);
    } finally {
      await small.stop();
    }
  });

  test('webhooks wait in a queue, and beyond its limit get 503 with Retry-After', async () => {
    const small = await testIngress(topics, { MAX_CONCURRENT_WEBHOOKS: '1' });
    try {
      const holding = connect(small.port, '127.0.0.1');
      let received = '';
      holding.on('data', (chunk: Buffer) => (received += chunk.toString()));
      const body = simple();
      holding.write(
        `POST /webhook/oura HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\nsignature: ${hex(ouraSecret, body)}\r\n\r\n`,
      );
      const levels = (): Promise<Answer> =>
        call({ port: small.port, path: '/metrics', method: 'GET', headers: { accept: 'text/plain' } });
      await until(async () => /webhooks_in_hand 1/.test((await levels()).body), 'one is in hand');
      assertProblem(await signed(small.port, 'oura', simple()), 503, 'too_busy');

      const waiting = signed(small.port, 'oura', simple());
      await until(async () => /webhooks_waiting 1/.test((await levels()).body), 'one waits');
      holding.write(body);
      assert.equal((await waiting).status, 200);
      await until(() => received.startsWith('HTTP/1.1 200 '), 'the first has its answer');
      holding.destroy();
    } finally {
      await small.stop();
    }
  });

  test('a route without a secret is closed, and the others are open', async () => {
    const open = await testIngress(topics, { TERRA_WEBHOOK_SECRET: '', OURA_VERIFICATION_TOKEN: '' });
    try {
      assertProblem(await signed(open.port, 'terra', simple()), 503, 'no_secret');
      assert.equal((await signed(open.port, 'oura', simple())).status, 200);
      const challenge = await call({
        port: open.port,
        path: '/webhook/oura?verification_token=&challenge=c',
        method: 'GET',
      });
      assertProblem(challenge, 503, 'no_token');
    } finally {
      await open.stop();
    }
  });

  test('in production there is no test webhook and no plain signature', async () => {
    const production = await testIngress(topics, { NODE_ENV: 'production' });
    try {
      assertProblem(
        await call({ port: production.port, path: '/webhook/test', body: '{}' }),
        404,
        'not_found',
      );
      assertProblem(await signed(production.port, 'oura', simple()), 401, 'signature_missing');
      assertProblem(await signed(production.port, 'whoop', simple()), 401, 'signature_missing');
      assertProblem(await signed(production.port, 'healthkit', simple()), 401, 'token_missing');
      const body = simple();
      const timestamp = String(Date.now());
      const headers = { 'x-oura-timestamp': timestamp, 'x-oura-signature': hex(ouraSecret, timestamp, body) };
      assert.equal((await call({ port: production.port, path: '/webhook/oura', body, headers })).status, 200);
    } finally {
      await production.stop();
    }
  });
});
