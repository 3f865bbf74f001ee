import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../edge/load.ts';
import { edgeProcess, metric } from '../edge/process.ts';
import { testTopics, until, type TestTopics } from '../ingress/harness.ts';
import {
  inSync,
  isLeftOut,
  leadersOf,
  steadyWebhooks,
  threeBrokers,
  type ThreeBrokers,
  type Webhook,
} from './cluster.ts';
import { report, rounds } from './settings.ts';

const kills = rounds(2);
const rate = 200;
/** Between two kills. */
const killEveryMs = 60_000;

describe(
  'case 14: webhooks while one of three brokers is gone',
  { timeout: 240_000 + kills * 2 * killEveryMs },
  () => {
    let cluster: ThreeBrokers;
    let topics: TestTopics;
    let raw: Record<string, string>;

    before(async () => {
      cluster = await threeBrokers();
    });
    // Of each test's own topics every broker leads about a third.
    beforeEach(async () => {
      topics = await testTopics({ servers: cluster.servers, replicationFactor: 3 });
      const { oura, whoop, terra } = topics.names.raw;
      raw = { oura, whoop, terra };
    });
    afterEach(() => topics.close());
    after(() => cluster.remove());

    const start = async (t: TestContext) => {
      await inSync(topics.admin, Object.values(raw));
      const ingress = await edgeProcess(t, topics.prefix, {
        KAFKA_BOOTSTRAP_SERVERS: cluster.servers,
        TOPIC_REPLICATION_FACTOR: '3',
      });
      const load = steadyWebhooks({ port: ingress.port, rate, topics: raw });
      t.after(() => load.end());
      await until(() => load.answered.length > 2 * rate, 'webhooks are answered');
      return { ingress, load };
    };

    /** Nothing that was acknowledged is missing, and nothing is there twice. */
    async function assertKept(webhooks: readonly Webhook[]): Promise<void> {
      const records: string[] = [];
      for (const topic of Object.values(raw)) {
        for (const { value } of await topics.read(topic)) records.push(String(value));
      }
      const kept = new Set(records);
      assert.equal(records.length, kept.size, 'no record occurs twice');
      const missing = webhooks.filter(({ status, body }) => status === 200 && !kept.has(body));
      assert.deepEqual(missing, []);
    }

    test('a rolling restart of the brokers refuses none', async (t) => {
      const { ingress, load } = await start(t);
      for (const broker of cluster.brokers) {
        await broker.stop('SIGTERM');
        await sleep(2_000);
        await broker.start();
        await inSync(topics.admin, Object.values(raw));
      }
      const webhooks = await load.end();
      const slowestMs = Math.round(Math.max(...webhooks.map(({ ms }) => ms)));
      report(t, { webhooks: webhooks.length, slowest_ms: slowestMs });
      assert.deepEqual(refused(webhooks), {});
      await assertKept(webhooks);
      assert.equal(await ingress.stop(), 0);
    });

    test('a killed broker holds up only what it leads, until others lead it', async (t) => {
      const { ingress, load } = await start(t);
      const others: number[] = [];
      const sentLater: number[] = [];
      const leftOutMs: number[] = [];
      const electionsMs: number[] = [];
      for (let kill = 0; kill < kills; kill += 1) {
        const leaders = await leadersOf(topics.admin, Object.values(raw));
        const victim = (kill % 3) + 1;
        const killedAt = performance.now();
        await cluster.brokers[victim - 1]!.stop('SIGKILL');
        const left = until(
          () => isLeftOut(topics.admin, Object.values(raw), victim),
          'the dead replicas are left out',
        ).then(() => performance.now());
        await until(
          async () => ![...(await leadersOf(topics.admin, Object.values(raw))).values()].includes(victim),
          'other brokers lead what it led',
        );
        electionsMs.push(Math.round(performance.now() - killedAt));
        // Until then the brokers hold back the acknowledgements of everything that has a replica there.
        const leftAt = await left;
        leftOutMs.push(Math.round(leftAt - killedAt));
        // What was sent before the election has its answer after that.
        await sleep(6_000);
        const endedAt = performance.now() - 5_500;
        const during = load.answered.filter(({ atMs }) => atMs >= killedAt && atMs < endedAt);
        const unaffected = during.filter(({ partition }) => leaders.get(partition) !== victim);
        assert.ok(unaffected.length > 0 && unaffected.length < during.length);
        assert.deepEqual(refused(unaffected), {}, 'what other brokers lead is accepted');
        others.push(...unaffected.map(({ ms }) => ms));
        sentLater.push(...unaffected.filter(({ atMs }) => atMs >= leftAt).map(({ ms }) => ms));
        await cluster.brokers[victim - 1]!.start();
        await inSync(topics.admin, Object.values(raw));
        if (kill < kills - 1) await sleep(Math.max(0, killedAt + killEveryMs - performance.now()));
      }
      const metrics = await ingress.metrics();
      const webhooks = await load.end();
      const lost = webhooks.filter(({ status }) => status !== 200).length;
      report(t, {
        kills,
        webhooks: webhooks.length,
        refused: refused(webhooks),
        left_out_ms: leftOutMs,
        elections_ms: electionsMs,
        others_p99_ms: quantile(others, 0.99),
        others_p99_later_ms: quantile(sentLater, 0.99),
        others_slowest_ms: quantile(others, 1),
      });
      assert.ok(
        Math.max(...leftOutMs) < Math.max(...electionsMs),
        'dead replicas are left out before the session ends',
      );
      // 3 % of what comes in a minute, for each kill.
      assert.ok(lost <= kills * 0.03 * rate * (killEveryMs / 1_000), `${lost} were refused`);
      assert.equal(metric(metrics, 'bridge_ingress_breaker_openings_total'), 0);
      await assertKept(webhooks);
      assert.equal(await ingress.stop(), 0);
    });
  },
);

/** How many were not answered with 200, by code. */
function refused(webhooks: readonly Webhook[]): Record<string, number> {
  const codes: Record<string, number> = {};
  for (const { status, code } of webhooks) if (status !== 200) codes[code] = (codes[code] ?? 0) + 1;
  return codes;
}
