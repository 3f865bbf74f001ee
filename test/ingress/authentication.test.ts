import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import { after, before, beforeEach, describe, test } from 'node:test';
import { bearerToken } from '../../vendors/bearer.ts';
import { createByteBudget, createAdmissionQueue } from '../../ingress/admission.ts';
import { hashKey } from '../../ingress/raw-record.ts';
import { schemes } from './schemes.ts';
import { vendors } from '../../vendors/index.ts';
import { verify } from '../../vendors/verify.ts';
import type { AppendRecord } from '../../kafka/append-batch.ts';
import { vendorWebhook, type Handler } from '../../ingress/webhook.ts';
import { closeServer, createHttpServer } from '../../ingress/http-server.ts';
import { listening } from '../../process/listening.ts';
import { call, hex, text, type Answer } from './harness.ts';

/** The vendors whose requests are written here as their documentation says. */
const devices = ['oura', 'whoop', 'terra', 'healthkit'] as const;
type Device = (typeof devices)[number];

// The handlers on a real HTTP server, before a log that keeps what it is given instead of a broker.
const secrets = ['the secret of now', 'the secret of before'];
const [secret = '', older = ''] = secrets;
const toleranceS = { oura: 4_500, whoop: 4_500, terra: 90_000, healthkit: 0 };
const revoked = new Set<string>();
let appended: AppendRecord[] = [];
let server: Server;
let port = 0;

function handler(device: Device, ofDevice: readonly string[]): Handler {
  return vendorWebhook(
    {
      rawLog: {
        append(record) {
          appended.push(record);
          return Promise.resolve('acknowledged');
        },
        breaker: { state: 'closed', retryAfterMs: () => 0 },
        healthy: true,
        warmUp: () => Promise.resolve(),
        close: () => Promise.resolve(),
      },
      queue: createAdmissionQueue({ places: 10, maxWaiting: 10, maxWaitMs: 1_000 }),
      budget: createByteBudget(1024 * 1024),
      partitions: 4,
      ackDeadlineMs: 1_000,
      now: Date.now,
      onDone: () => undefined,
      onUnexpected: (error) => assert.fail(error instanceof Error ? error : 'unexpected'),
    },
    {
      device,
      topic: `raw.${device}`,
      webhook: vendors[device].webhook,
      schemes: [...vendors[device].webhook.schemes, schemes.plain],
      isRevoked: (user) => revoked.has(user),
      secrets: ofDevice,
      toleranceS: toleranceS[device],
      maxBodyBytes: 100_000,
    },
  );
}

before(async () => {
  const routes = new Map<string, Handler>();
  for (const device of devices) {
    routes.set(`/webhook/${device}`, handler(device, secrets));
    routes.set(`/empty-secret/${device}`, handler(device, ['']));
  }
  server = createHttpServer((request, response) => void routes.get(request.url ?? '')?.(request, response));
  ({ port } = await listening(server, 'PORT', 0, '127.0.0.1'));
});
after(() => closeServer(server, 1_000));
beforeEach(() => {
  appended = [];
  revoked.clear();
});

type Sent = Readonly<Record<string, string | string[]>>;

function post(device: Device, body: string | Buffer, headers: Sent, path = 'webhook'): Promise<Answer> {
  return call({ port, path: `/${path}/${device}`, body, headers });
}
function base64(key: string, ...parts: (string | Buffer)[]): string {
  return Buffer.from(hex(key, ...parts), 'hex').toString('base64');
}

/** What each vendor sends with a body, as its documentation says. */
const sign: Readonly<
  Record<Device, (body: string | Buffer, key?: string, atMs?: number) => Record<string, string>>
> = {
  oura(body, key = secret, atMs = Date.now()) {
    const timestamp = String(atMs);
    return { 'X-Oura-Timestamp': timestamp, 'X-Oura-Signature': hex(key, timestamp, body).toUpperCase() };
  },
  whoop(body, key = secret, atMs = Date.now()) {
    const timestamp = String(atMs);
    return {
      'X-WHOOP-Signature-Timestamp': timestamp,
      'X-WHOOP-Signature': base64(key, timestamp, body),
    };
  },
  terra(body, key = secret, atMs = Date.now()) {
    const t = String(Math.floor(atMs / 1000));
    const header = `t=${t},v1=${hex(key, `${t}.`, body)}`;
    return { 'X-Terra-Signature': header, 'terra-signature': header };
  },
  healthkit: (_, key = secret) => ({ Authorization: `Bearer ${bearerToken('user-7', key)}` }),
};

const bodies: Readonly<Record<Device, { body: string; user: string }>> = {
  oura: { body: '{"event_type":"update","data_type":"sleep","user_id":"user-7"}', user: 'user-7' },
  whoop: { body: '{"user_id":9007199254740993,"type":"sleep.updated"}', user: '9007199254740993' },
  terra: {
    body: '{"type":"daily","user":{"user_id":"theirs","reference_id":"athlete-42 å"},"data":[]}',
    user: 'athlete-42 å',
  },
  healthkit: { body: '{"data":{"metrics":[]}}', user: 'user-7' },
};

const withTime = ['oura', 'whoop', 'terra'] as const;
const schemeOf = { oura: 'oura', whoop: 'whoop', terra: 'terra', healthkit: 'bearer' };

async function refused(code: string, answer: Promise<Answer>): Promise<void> {
  const { status, headers, json } = await answer;
  assert.deepEqual([status, json()['code']], [401, code]);
  assert.equal(headers['www-authenticate'], code.startsWith('token_') ? 'Bearer' : 'Signature');
  assert.deepEqual(appended, []);
}

for (const device of devices) {
  const { body, user } = bodies[device];
  describe(`what ${device} sends`, () => {
    test('is accepted with the new secret and with the older one, under its user', async () => {
      for (const [index, key] of secrets.entries()) {
        appended = [];
        assert.equal((await post(device, body, sign[device](body, key))).status, 200);
        const [record] = appended;
        assert.equal(record?.value.toString(), body);
        assert.equal(text(record.key), user);
        assert.equal(text(record.headers['scheme']), schemeOf[device]);
        assert.equal(text(record.headers['secret']), String(index));
        assert.equal('authorization' in record.headers, false);
      }
    });

    test('can be verified again from its raw record', async () => {
      assert.equal((await post(device, body, sign[device](body, older))).status, 200);
      const record = appended[0]!;
      const headers = Object.fromEntries(
        Object.entries(record.headers).map(([name, value]) => [name, value.toString('latin1')]),
      );
      const again = verify({
        schemes: vendors[device].webhook.schemes,
        headers,
        body: record.value,
        secrets,
        window: { pastMs: toleranceS[device] * 1_000, futureMs: 300_000 },
        nowMs: record.timestampMs,
      });
      // Of a token, scheme and secret are kept, and not the token.
      if (device === 'healthkit') assert.deepEqual(again, { ok: false, reason: 'token_missing' });
      else assert.deepEqual(again, { ok: true, scheme: device, secretIndex: 1 });
    });

    test('is refused with the secret of another party', () =>
      refused(
        device === 'healthkit' ? 'token_wrong' : 'signature_wrong',
        post(device, body, sign[device](body, 'guess')),
      ));

    test('that is signed and not JSON is kept under its hash and answered 400', async () => {
      for (const broken of ['not JSON', '', '{"user_id":"user-7"', Buffer.from([0x22, 0xff, 0x22])]) {
        appended = [];
        const answer = await post(device, broken, sign[device](broken));
        assert.deepEqual([answer.status, answer.json()['code']], [400, 'not_json']);
        assert.equal(text(appended[0]?.key), hashKey(Buffer.from(broken)).toString());
        assert.equal(text(appended[0]?.headers['scheme']), schemeOf[device]);
      }
    });

    test('is refused without any credentials', () =>
      refused(device === 'healthkit' ? 'token_missing' : 'signature_missing', post(device, body, {})));
  });
}

describe('a HealthKit token', () => {
  const bearing = (user: string, key = secret) => ({ authorization: `Bearer ${bearerToken(user, key)}` });

  test('keys any JSON that it comes with', async () => {
    for (const body of ['{"data":{}}', '{}', '[]', 'null', '7', '{"user_id":null}', '{"user_id":""}']) {
      appended = [];
      assert.equal((await post('healthkit', body, bearing('athlete-42 å'))).status, 200);
      assert.equal(text(appended[0]?.key), 'athlete-42 å');
    }
  });

  test('is accepted with the simple format of its own user, even if the id is a number there', async () => {
    for (const [user, body] of [
      ['user-7', '{"user_id":"user-7","timestamp":"2025-07-30T12:00:00Z"}'],
      ['10129', '{"user_id":10129}'],
      ['9007199254740993', '{"user_id":9007199254740993}'],
    ] as const) {
      appended = [];
      assert.equal((await post('healthkit', body, bearing(user))).status, 200);
      assert.equal(text(appended[0]?.key), user);
    }
  });

  test('is refused with a body that names another user', () =>
    refused('token_of_another_user', post('healthkit', '{"user_id":"user-8"}', bearing('user-7'))));

  test('of a revoked user is refused under every secret, and those of other users are accepted', async () => {
    revoked.add('user-7');
    await refused('token_revoked', post('healthkit', '{}', bearing('user-7')));
    await refused('token_revoked', post('healthkit', '{}', bearing('user-7', older)));
    // Without a token of a user, a sender cannot find out whether that user is revoked.
    await refused('token_wrong', post('healthkit', '{}', bearing('user-7', 'guess')));
    assert.equal((await post('healthkit', '{}', bearing('user-77'))).status, 200);
  });

  test('that is wrong is refused before the body arrives', async () => {
    const answer = await call({
      port,
      path: '/webhook/healthkit',
      headers: { ...bearing('user-7', 'guess'), 'content-length': 50_000, expect: '100-continue' },
      body: 'x'.repeat(50_000),
    });
    assert.equal(answer.status, 401);
  });

  test('is accepted by no other route', () =>
    refused('signature_missing', post('oura', '{}', bearing('user-7'))));
});

describe('pitfalls of the vendors', () => {
  test('1: raw bytes first: a body that was only reserialized does not verify', async () => {
    for (const device of withTime) {
      const spaced = '{ "user_id": "user-7", "hrv": 1.0 }\n';
      assert.equal((await post(device, spaced, sign[device](spaced))).status, 200);
      appended = [];
      const compact = JSON.stringify(JSON.parse(spaced));
      await refused('signature_wrong', post(device, compact, sign[device](spaced)));
      await refused('signature_wrong', post(device, `\ufeff${spaced}`, sign[device](spaced)));
    }
  });

  test('2: anything missing or malformed gets 401 and throws nothing', async () => {
    const garbage = [
      '',
      ' ',
      'zz',
      '=',
      ',',
      't=',
      't=,v1=',
      'v1=',
      't=1,v1=0',
      '0'.repeat(63),
      'é',
      'x'.repeat(4_000),
    ];
    for (const device of devices) {
      const names = Object.keys(sign[device](''));
      for (const value of garbage) {
        const answer = await post(device, '{}', Object.fromEntries(names.map((name) => [name, value])));
        assert.equal(answer.status, 401, `${device} ${value.slice(0, 20)}`);
      }
      for (const name of names.filter((one) => !one.includes('erra'))) {
        const rest = Object.entries(sign[device]('{}')).filter(([other]) => other !== name);
        assert.equal((await post(device, '{}', Object.fromEntries(rest))).status, 401);
      }
    }
    assert.deepEqual(appended, []);
  });

  test('2: header names may be in any case', async () => {
    for (const device of devices) {
      const entries = Object.entries(sign[device]('{}'));
      for (const turn of [(name: string) => name.toLowerCase(), (name: string) => name.toUpperCase()]) {
        const headers = Object.fromEntries(entries.map(([name, value]) => [turn(name), value]));
        assert.equal((await post(device, '{}', headers)).status, 200);
      }
    }
  });

  test('2: a header that arrives as an array is ambiguous, even with equal values', async () => {
    for (const device of devices) {
      for (const [name, value] of Object.entries(sign[device]('{}'))) {
        const doubled = { ...sign[device]('{}'), [name]: [value, value] };
        const answer = await post(device, '{}', doubled);
        assert.equal(answer.status, 401);
        assert.match(String(answer.json()['code']), /_ambiguous$/);
      }
    }
    assert.deepEqual(appended, []);
  });

  test('3: an empty secret closes the route, also to signatures made with the empty key', async () => {
    for (const device of devices) {
      const answer = await post(device, '{}', sign[device]('{}', ''), 'empty-secret');
      assert.deepEqual([answer.status, answer.json()['code']], [503, 'no_secret']);
    }
    assert.deepEqual(appended, []);
  });

  test('4: the text of the timestamp is signed, digit for digit', async () => {
    for (const device of ['oura', 'whoop'] as const) {
      const [timestampName = '', signatureName = ''] = Object.keys(sign[device](''));
      const atMs = Math.floor(Date.now() / 1_000) * 1_000;
      const right = sign[device]('{}', secret, atMs);
      assert.equal((await post(device, '{}', right)).status, 200);
      appended = [];
      // The same instant in another writing.
      const inS = String(atMs / 1_000);
      const wrong = { [timestampName]: inS, [signatureName]: right[signatureName] ?? '' };
      await refused(device === 'oura' ? 'signature_wrong' : 'timestamp_malformed', post(device, '{}', wrong));
    }
  });

  test('5: the far future is refused as well as the past, and retries are accepted', async () => {
    for (const device of withTime) {
      const at = (offsetS: number): Promise<Answer> =>
        post(device, '{}', sign[device]('{}', secret, Date.now() + offsetS * 1_000));
      await refused('timestamp_in_future', at(310));
      await refused('timestamp_too_old', at(-toleranceS[device] - 10));
      assert.equal((await at(290)).status, 200);
      assert.equal((await at(10 - toleranceS[device])).status, 200);
      appended = [];
    }
  });

  test('6: a request that is sent again within the window gets 2xx again', async () => {
    for (const device of devices) {
      const headers = sign[device]('{}');
      for (let sent = 0; sent < 3; sent += 1) assert.equal((await post(device, '{}', headers)).status, 200);
    }
  });

  test('8: unknown kinds of events are stored and get 2xx', async () => {
    for (const device of devices) {
      const body = '{"type":"of tomorrow","event_type":"renamed","data_type":"meal"}';
      assert.equal((await post(device, body, sign[device](body))).status, 200);
    }
    assert.equal(appended.length, devices.length);
  });
});

test('the signature of one vendor is refused on the route of another', async () => {
  for (const from of devices) {
    for (const to of devices.filter((device) => device !== from)) {
      assert.equal((await post(to, '{}', sign[from]('{}'))).status, 401, `${from} at ${to}`);
    }
  }
  assert.deepEqual(appended, []);
});

test('a valid plain signature does not make up for a wrong signature of the vendor', async () => {
  for (const device of devices) {
    const headers = { ...sign[device]('{}', 'guess'), signature: hex(secret, '{}') };
    assert.equal((await post(device, '{}', headers)).status, 401);
  }
  assert.deepEqual(appended, []);
});

test('no answer reveals the secret, the user or the body', async () => {
  const planted = 'planted-7361';
  for (const device of devices) {
    const body = JSON.stringify({ user_id: planted, note: planted });
    for (const headers of [{}, sign[device](body, planted), { ...sign[device](body), signature: planted }]) {
      const answer = await post(device, body, headers);
      assert.doesNotMatch(answer.body + JSON.stringify(answer.headers), new RegExp(`${planted}|${secret}`));
    }
  }
});
