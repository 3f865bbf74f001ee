import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { secrets, testTopics, type TestTopics } from '../ingress/harness.ts';
import { numberedBody, quantile, startLoad, type Outcome } from './load.ts';
import { edgeProcess, metric, type EdgeProcess } from './process.ts';
import { isFull, report } from './settings.ts';

const secret = secrets.WHOOP_WEBHOOK_SECRET;
const MiB = 1024 * 1024;

describe('an overloaded ingress', { timeout: 300_000 }, () => {
  let topics: TestTopics;
  let ingress: EdgeProcess;
  const undo: (() => unknown)[] = [];
  before(async () => {
    topics = await testTopics();
    ingress = await edgeProcess({ after: (one) => undo.push(one as () => unknown) }, topics.prefix, {
      OURA_WEBHOOK_SECRET: secret,
    });
  });
  after(async () => {
    for (const one of undo) await one();
    await topics.close();
  });

  async function load(connections: number, ms: number): Promise<Outcome & { seconds: number }> {
    const running = await startLoad({ port: ingress.port, secret, connections });
    const startedAt = performance.now();
    await sleep(ms);
    const outcome = await running.stop();
    return { ...outcome, seconds: (performance.now() - startedAt) / 1000 };
  }
  function figures({ statuses, codes, latenciesMs, seconds }: Outcome & { seconds: number }): object {
    return {
      statuses,
      codes,
      per_second: Math.round(latenciesMs.length / seconds),
      p50_ms: quantile(latenciesMs, 0.5),
      p99_ms: quantile(latenciesMs, 0.99),
      max_ms: quantile(latenciesMs, 1),
    };
  }
  async function assertKept(acknowledged: readonly number[]): Promise<void> {
    const records = await topics.read(topics.names.raw.oura);
    const kept = new Set<number>();
    for (const { value } of records) {
      const text = String(value);
      const number = Number(/"number":(\d+)\}$/.exec(text)?.[1]);
      assert.equal(text, numberedBody(number), 'a record is exactly a body that was sent');
      assert.equal(kept.has(number), false, 'and occurs once');
      kept.add(number);
    }
    const missing = acknowledged.filter((number) => !kept.has(number));
    assert.deepEqual(missing, [], 'what was answered 200 is in the topic');
  }

  test('accepts 99 of 100 webhooks of 300 connections, and keeps every accepted one unchanged', async (t) => {
    await load(20, 500);
    const outcome = await load(300, isFull ? 20_000 : 3_000);
    report(t, figures(outcome));
    const { '200': taken = 0, '503': refused = 0, ...others } = outcome.statuses;
    assert.deepEqual(others, {});
    assert.ok(taken >= 0.99 * (taken + refused), `${taken} of ${taken + refused}`);
    await assertKept(outcome.acknowledged);
  });

  test('answers only 200 and 503 far beyond its capacity, in bounded time and memory, and recovers', async (t) => {
    const outcome = await load(isFull ? 4_000 : 2_000, isFull ? 20_000 : 3_000);
    const memory = metric(await ingress.metrics(), 'process_resident_memory_bytes');
    report(t, { ...figures(outcome), resident_mib: Math.round(memory / MiB) });
    const { '200': taken = 0, '503': refused = 0, ...others } = outcome.statuses;
    assert.deepEqual(others, {});
    assert.ok(taken > 0 && refused > 0);
    assert.deepEqual([...outcome.retryAfterS], [1]);
    // A second in line and ACK_DEADLINE_MS (5,000) for the broker bound what the ingress itself may take.
    const text = await ingress.metrics();
    const durations = 'bridge_ingress_webhook_duration_seconds';
    assert.equal(metric(text, `${durations}_bucket`, 'le="10"'), metric(text, `${durations}_count`));
    assert.ok(memory < 700 * MiB, `${Math.round(memory / MiB)} MiB`);

    const calm = await load(20, 1_000);
    assert.deepEqual(Object.keys(calm.statuses), ['200']);
    await assertKept([...outcome.acknowledged, ...calm.acknowledged]);
    assert.deepEqual(ingress.strays, []);
  });
});
