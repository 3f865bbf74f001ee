import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createClient } from '@redis/client';
import fc from 'fast-check';
import { Redis } from 'ioredis';
import { AlertStoreUnavailable, type Alerts } from '../../../../consumers/neuros/alerts/alerts.ts';
import type { ClaimStore } from '../../../../consumers/neuros/alerts/claim-store.ts';
import { claimedAlerts, claims } from '../../../../consumers/neuros/alerts/claims.ts';
import { redisStore } from '../../../../consumers/neuros/alerts/redis.ts';
import { again, begin, finish, first, shown, testAlerts, testClaims, user, version } from './contract.ts';
import { nights } from './night.ts';
import { assertPromised, drawn, faultyStore, readAll } from './readers.ts';
import { redisUrl } from './redis.ts';
import { runs } from './runs.ts';

const url = redisUrl();
const prefix = `test-${randomUUID()}:`;

describe('alerts in Redis', { timeout: 600_000, skip: url === undefined }, () => {
  const nodeRedis = createClient({ url: url ?? '' });
  const ioRedis = new Redis(url ?? '', { lazyConnect: true });
  before(async () => {
    await nodeRedis.connect();
    await ioRedis.connect();
  });
  after(() => {
    nodeRedis.destroy();
    ioRedis.disconnect();
  });

  async function started(client: Parameters<typeof redisStore>[0]['client'] = ioRedis): Promise<Alerts> {
    const alerts = claims(redisStore({ client, prefix }));
    await alerts.start('neuros');
    return alerts;
  }

  describe('through node-redis', () => {
    testAlerts(() => claims(redisStore({ client: nodeRedis, prefix })));
    testClaims((leaseMs) => claims(redisStore({ client: nodeRedis, prefix }), { leaseMs }));
  });
  describe('through ioredis', () => {
    testAlerts(() => claims(redisStore({ client: ioRedis, prefix })));
    testClaims((leaseMs) => claims(redisStore({ client: ioRedis, prefix }), { leaseMs }));
  });

  test('nothing is lost or silently repeated, whatever crashes', async () => {
    await fc.assert(
      fc.asyncProperty(nights({ staleForGood: false }), fc.nat(), async (log, seed) => {
        const draw = drawn(seed);
        const own = `${prefix}${randomUUID()}:`;
        let clock = 0;
        const effects = await readAll({
          log,
          draw,
          crashes: draw(4),
          failures: draw(4),
          passTime: () => (clock += 60_001),
          async alerts() {
            const client = draw(2) === 0 ? nodeRedis : ioRedis;
            const store = redisStore({ client, prefix: own });
            const faulty = faultyStore(store, { now: () => clock, draw, faults: draw(3) });
            const alerts = claimedAlerts(faulty, { leaseMs: 60_000, firstDecides: false });
            await alerts.start('neuros');
            return alerts;
          },
        });
        assertPromised(log, effects);
      }),
      { numRuns: runs(60) },
    );
  });

  test('decisions are made by the clock of Redis', async () => {
    const store = redisStore({ client: ioRedis, prefix });
    const [seconds] = await ioRedis.time();
    const now = await store.update(
      { reader: 'r', device: 'oura', user: 'u' },
      { resource: 'x', alerts: [] },
      (part, answer) => ({ part, answer }),
    );
    assert.ok(Math.abs(now - Number(seconds) * 1_000) < 60_000);
  });

  test('after a flush an alert is announced again when it is read again, and nothing is withdrawn that it forgot', async () => {
    const alerts = await started();
    const mine = user();
    await finish(await begin(alerts, version(1, [first], undefined, mine)));
    await ioRedis.flushall();
    assert.deepEqual(await finish(await begin(alerts, version(2, [again], [first], mine))), ['announce']);
    await ioRedis.flushall();
    assert.deepEqual(await begin(alerts, version(3, [], [again], mine)), []);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
  });

  test('a flush while a handler runs loses its mark, so that the repetition is announced', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    assert.equal(
      await step!.run(async () => {
        await ioRedis.flushall();
      }),
      'done',
    );
    assert.deepEqual(shown(await begin(alerts, version(2, [again], [first], mine))), ['announce 1']);
  });

  test('a ledger expires after 70 days, and an active user loses what is older page by page', async () => {
    const alerts = await started();
    const mine = user();
    const key = `${prefix}neuros:oura:${mine.user_id}`;
    await finish(await begin(alerts, version(1, [first], undefined, mine)));
    assert.ok((await ioRedis.ttl(key)) > 70 * 86_400 - 60);
    const now = Math.floor(Date.now() / 1_000);
    const old = Array.from({ length: 1_000 }, (_, i) => [`a:old ${i}`, `${now - 71 * 86_400} {}`]).flat();
    await ioRedis.hset(key, 'r:recent', `${now - 69 * 86_400} {}`, 'sweep', `${now - 1} 0`, ...old);
    let revision = 2;
    const count = async (): Promise<number> => ioRedis.hlen(key);
    const before = await count();
    await begin(alerts, version(revision, [again], [first], mine));
    const after = await count();
    assert.ok(after < before && after > before - 500, 'a page at a time');
    // The last page of a sweep may hold nothing old.
    const nextSweep = async (): Promise<number> => Number((await ioRedis.hget(key, 'sweep'))!.split(' ')[0]);
    while (((await count()) > 4 || (await nextSweep()) <= now + 86_000) && revision < 200)
      await begin(alerts, version(++revision, [again], [first], mine));
    assert.equal(await count(), 4, 'the resource, its alert, the recent one, and the time of the next sweep');
    assert.ok((await nextSweep()) > now + 86_000);
    assert.deepEqual(shown(await begin(alerts, version(revision + 1, [], [again], mine))), ['withdraw 1']);
  });

  test('an entry that cannot be read does not quote itself', async () => {
    const alerts = await started();
    const mine = user();
    await ioRedis.hset(
      `${prefix}neuros:oura:${mine.user_id}`,
      `r:${version(1, []).resource_id}`,
      '1 {"secret',
    );
    await assert.rejects(
      begin(alerts, version(1, [first], undefined, mine)),
      (error) => error instanceof AlertStoreUnavailable && !JSON.stringify(error).includes('secret'),
    );
  });

  test('a lost race is decided again', async () => {
    const store = redisStore({ client: ioRedis, prefix });
    const ledger = { reader: 'race', device: 'oura', user: randomUUID() };
    const touched = { resource: 'x', alerts: ['a'] };
    const add = (by: string): Promise<void> =>
      store.update(ledger, touched, (part) => {
        const known = part.alerts.get('a')?.namedBy ?? [];
        const state = { status: 'open', claim: null, namedBy: [...known, by], alert: null } as const;
        return { part: { ...part, alerts: new Map([['a', state]]) }, answer: undefined };
      });
    await Promise.all(Array.from({ length: 30 }, (_, i) => add(String(i))));
    const names = await store.update(ledger, touched, (part) => ({
      part,
      answer: part.alerts.get('a')?.namedBy,
    }));
    assert.equal(new Set(names).size, 30);
  });

  test('a Redis that is away, does not answer, or refuses is said so', async (t) => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    const away = new Redis(1, '127.0.0.1', { lazyConnect: true, retryStrategy: () => null });
    away.on('error', () => undefined);
    const mute = new Redis(port, '127.0.0.1', { lazyConnect: true });
    await ioRedis.call('ACL', ['SETUSER', 'reader', 'on', '>secret', '~*', '+@read', '+eval']);
    const reader = new Redis(url ?? '', { username: 'reader', password: 'secret', lazyConnect: true });
    t.after(async () => {
      for (const client of [away, mute, reader]) client.disconnect();
      await ioRedis.call('ACL', ['DELUSER', 'reader']);
      silent.close();
    });
    const starts = [away, mute, reader].map((client) =>
      claims(redisStore({ client, prefix })).start('neuros'),
    );
    const outcomes = await Promise.allSettled(starts);
    const messages = outcomes.map((one) =>
      one.status === 'rejected' ? (one.reason as Error).message : 'started',
    );
    assert.match(messages[0]!, /cannot be used \(\w+\): start it, or correct its address/);
    assert.match(messages[1]!, /cannot be used \(no answer in time\): start it, or correct its address/);
    assert.match(messages[2]!, /cannot be used \(NOPERM\): its user must be allowed EVAL/);
  });

  test('while Redis is away nothing is skipped: the same step goes on afterwards', async (t) => {
    const client = new Redis(url ?? '');
    t.after(() => client.disconnect());
    const alerts = await started(client);
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    let calls = 0;
    const handler = (): Promise<void> => {
      calls += 1;
      client.disconnect();
      return Promise.resolve();
    };
    await assert.rejects(step!.run(handler), AlertStoreUnavailable);
    await client.connect();
    assert.equal(await step!.run(handler), 'done');
    assert.equal(calls, 1, 'the handler had succeeded, so only its mark was missing');
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
  });
});

// The types of both clients are those of a store's client, without a cast.
export const typed: readonly ((url: string) => ClaimStore)[] = [
  (address) => redisStore({ client: createClient({ url: address }) }),
  (address) => redisStore({ client: new Redis(address) }),
];
