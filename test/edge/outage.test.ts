import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test, type TestContext } from 'node:test';
import { broker } from '../../local/broker.ts';
import { checkJava, fetchSoftware } from '../../local/maven.ts';
import { endStrays, pidFileOf, type Part } from '../../local/part.ts';
import { freePorts } from '../../local/ports.ts';
import { livePid } from '../../local/processes.ts';
import { newClusterId } from '../../local/stack.ts';
import { projectRoot } from '../../process/root.ts';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  call,
  signed,
  silentLog,
  testIngress,
  testTopics,
  until,
  type TestTopics,
} from '../ingress/harness.ts';
import { get, metric } from './process.ts';
import { isFull, report } from './settings.ts';

/** At length: an outage of 30 s under the defaults. Else one that lasts until the breaker has opened. */
const outage = isFull
  ? { lastsMs: 30_000, openMs: 60_000, env: {} }
  : { lastsMs: 0, openMs: 2_000, env: { ACK_DEADLINE_MS: '600', BREAKER_OPEN_MS: '2000' } };

/** A broker that only this file uses, since it is killed and stopped. */
async function ownBroker(): Promise<{ part: Part; servers: string; pid(): number; remove(): Promise<void> }> {
  const directory = join(projectRoot(), '.local', 'test-outage');
  const onProgress = (): void => undefined;
  await endStrays(directory, { keep: [], onProgress });
  rmSync(directory, { recursive: true, force: true });
  const ports = await freePorts(1);
  const part = broker({
    directory,
    index: 0,
    ports,
    clusterId: newClusterId(),
    durable: false,
    software: () => fetchSoftware({ env: process.env, onProgress }),
    onProgress,
  });
  const pid = (): number =>
    livePid(pidFileOf(directory, part.name)) ?? assert.fail('the broker does not run');
  // The hooks below do not run when the tests are interrupted.
  const interrupted = (): void => {
    const left = livePid(pidFileOf(directory, part.name));
    if (left !== undefined) process.kill(left, 'SIGKILL');
    process.exit(130);
  };
  process.once('SIGTERM', interrupted);
  await part.start();
  return {
    part,
    servers: `127.0.0.1:${ports.kafka[0]}`,
    pid,
    async remove() {
      await part.stop('SIGKILL');
      process.off('SIGTERM', interrupted);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

let number = 0;

/** Between two requests of a sender: what is tried is the breaker, not how much the ingress takes. */
const pauseMs = 20;

/** Senders that go on whatever is answered, each with one webhook at a time. */
function senders(port: number, count: number) {
  const agent = new Agent({ keepAlive: true });
  const acknowledged: string[] = [];
  const refusals: { status: number; code: unknown; retryAfter: number }[] = [];
  let ended = false;
  const work = Array.from({ length: count }, async (_, user) => {
    while (!ended) {
      const body = JSON.stringify({ user_id: `user-${user}`, number: (number += 1) });
      const answer = await signed(port, 'oura', body, { agent });
      const { status } = answer;
      if (status === 200) acknowledged.push(body);
      else {
        const retryAfter = Number(answer.headers['retry-after']);
        refusals.push({ status, code: answer.json()['code'], retryAfter });
      }
      await sleep(pauseMs);
    }
  });
  return {
    acknowledged,
    refusals,
    async end() {
      ended = true;
      await Promise.all(work);
      agent.destroy();
    },
  };
}

const java = await checkJava(process.env);
const skip = java.usable ? false : `it starts and kills a broker of its own, and ${java.found}`;

describe('an outage of the broker', { timeout: isFull ? 900_000 : 180_000, skip }, () => {
  let own: Awaited<ReturnType<typeof ownBroker>>;
  let topics: TestTopics;
  let ingress: Awaited<ReturnType<typeof testIngress>>;

  before(async () => {
    own = await ownBroker();
    topics = await testTopics({ servers: own.servers });
    ingress = await testIngress(
      topics,
      { KAFKA_BOOTSTRAP_SERVERS: own.servers, MAX_BODY_BYTES: '200000', ...outage.env },
      silentLog,
    );
  });
  after(async () => {
    await ingress.stop();
    await topics.close();
    await own.remove();
  });

  /** Produce requests that failed and openings of the breaker, seen at the same moment. */
  async function breaker(): Promise<{ failed: number; openings: number }> {
    const text = (await get(ingress.port, '/metrics', { accept: 'text/plain' })).body;
    return {
      failed: metric(text, 'bridge_ingress_sends_total', 'result="failed"'),
      openings: metric(text, 'bridge_ingress_breaker_openings_total'),
    };
  }
  /** Sends requests that involve no broker until it is ended; resolves with their statuses. */
  function strangers(): { end(): Promise<Set<number>> } {
    const statuses = new Set<number>();
    let ended = false;
    const large = Buffer.alloc(200_001, 'x');
    const work = [
      { body: '{}' },
      { body: '{}', headers: { signature: 'a'.repeat(64) } },
      { body: large },
    ].map(async (one) => {
      while (!ended) {
        statuses.add((await call({ port: ingress.port, path: '/webhook/oura', ...one })).status);
        await sleep(pauseMs);
      }
    });
    return {
      async end() {
        ended = true;
        await Promise.all(work);
        return statuses;
      },
    };
  }
  async function survives(t: TestContext, down: () => unknown, up: () => unknown): Promise<void> {
    const load = senders(ingress.port, 8);
    const others = strangers();
    await until(() => load.acknowledged.length > 50, 'webhooks are taken');
    const before = await breaker();
    const startedAt = performance.now();
    await down();
    let seen = before;
    await until(
      async () => (seen = await breaker()).openings > before.openings,
      'the breaker has opened',
      60_000,
    );
    const openedMs = performance.now() - startedAt;
    // Each opening after the first is one trial that failed. Bad signatures and large bodies have no effect on it.
    assert.equal(seen.failed - before.failed, 5 + (seen.openings - before.openings - 1));
    await until(
      () => load.refusals.some(({ code }) => code === 'breaker_open'),
      'webhooks are refused at once',
    );
    await sleep(Math.max(0, outage.lastsMs - openedMs));
    await up();
    const taken = load.acknowledged.length;
    await until(
      () => load.acknowledged.length > taken + 50,
      'webhooks are taken again',
      2 * outage.openMs + 30_000,
    );
    await load.end();
    const statuses = [...(await others.end())].sort();

    // A signature that could be right is not worth reading a body for while nothing can be kept.
    assert.deepEqual(statuses, [401, 413, 503]);
    const longest = outage.openMs / 1_000;
    for (const { status, code, retryAfter } of load.refusals) {
      assert.equal(status, 503);
      assert.ok(retryAfter >= 1 && retryAfter <= longest, `Retry-After: ${retryAfter}`);
      if (code === 'too_busy') assert.equal(retryAfter, 1);
    }
    const advised = load.refusals
      .filter(({ code }) => code === 'breaker_open')
      .map(({ retryAfter }) => retryAfter);
    assert.equal(Math.max(...advised), longest, 'at first it is the whole time, then the remainder');
    report(t, {
      opened_after_ms: Math.round(openedMs),
      acknowledged: load.acknowledged.length,
      refused: load.refusals.length,
    });
    const records = (await topics.read(topics.names.raw.oura)).map(({ value }) => String(value));
    const inLog = new Set(records);
    assert.equal(records.length, inLog.size, 'no record occurs twice');
    for (const body of load.acknowledged) assert.ok(inLog.has(body), 'what was acknowledged is in the log');
    await until(
      async () => (await call({ port: ingress.port, path: '/health', method: 'GET' })).status === 200,
      'it is healthy',
    );
  }

  test('bad signatures and oversized bodies do not affect the breaker, however many', async () => {
    const before = await breaker();
    const large = Buffer.alloc(200_001, 'x');
    for (let round = 0; round < 20; round += 1) {
      const answers = await Promise.all([
        ...Array.from({ length: 20 }, () => call({ port: ingress.port, path: '/webhook/oura', body: '{}' })),
        ...Array.from({ length: 5 }, () => signed(ingress.port, 'oura', large)),
      ]);
      assert.deepEqual([...new Set(answers.map(({ status }) => status))].sort(), [401, 413]);
    }
    assert.deepEqual(await breaker(), before);
    assert.equal((await signed(ingress.port, 'oura', '{"user_id":"u"}')).status, 200);
  });

  test('a broker that is killed and restarted costs no acknowledged record', (t) =>
    survives(
      t,
      () => own.part.stop('SIGKILL'),
      () => own.part.start(),
    ));

  test('a broker that hangs costs none either', (t) =>
    survives(
      t,
      () => process.kill(own.pid(), 'SIGSTOP'),
      () => process.kill(own.pid(), 'SIGCONT'),
    ));
});
