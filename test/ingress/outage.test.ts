import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { broker } from '../../local/broker.ts';
import { checkJava, fetchSoftware } from '../../local/maven.ts';
import { endStrays, pidFileOf, type Part } from '../../local/part.ts';
import { freePorts } from '../../local/ports.ts';
import { livePid } from '../../local/processes.ts';
import { projectRoot } from '../../process/root.ts';
import { call, signed, silentLog, testIngress, testTopics, until, type TestTopics } from './harness.ts';

/** A broker that only this file uses, since it is killed and stopped. */
async function ownBroker(): Promise<{ part: Part; servers: string; pid(): number; remove(): Promise<void> }> {
  const root = projectRoot();
  const directory = join(root, '.local', 'test-outage');
  const onProgress = (): void => undefined;
  await endStrays(directory, { keep: [], onProgress });
  rmSync(directory, { recursive: true, force: true });
  const ports = await freePorts(1);
  const part = broker({
    directory,
    root,
    index: 0,
    ports,
    clusterId: randomBytes(16).toString('base64url'),
    durable: false,
    software: () => fetchSoftware({ root, env: process.env, onProgress }),
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
      if (answer.status === 200) {
        acknowledged.push(body);
        continue;
      }
      const retryAfter = Number(answer.headers['retry-after']);
      refusals.push({ status: answer.status, code: answer.json()['code'], retryAfter });
      // A sender that comes again at once would only fill the list.
      await new Promise((resolve) => setTimeout(resolve, 20));
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

const java = await checkJava(projectRoot(), process.env);
const skip = java.usable ? false : `it starts and kills a broker of its own, and ${java.found}`;

describe('an outage of the broker', { timeout: 180_000, skip }, () => {
  let own: Awaited<ReturnType<typeof ownBroker>>;
  let topics: TestTopics;
  let ingress: Awaited<ReturnType<typeof testIngress>>;

  before(async () => {
    own = await ownBroker();
    topics = await testTopics({ servers: own.servers });
    ingress = await testIngress(
      topics,
      { KAFKA_BOOTSTRAP_SERVERS: own.servers, ACK_DEADLINE_MS: '600', BREAKER_OPEN_MS: '2000' },
      silentLog,
    );
  });
  after(async () => {
    await ingress.stop();
    await topics.close();
    await own.remove();
  });

  async function breakerOpenings(): Promise<number> {
    const summary = await call({ port: ingress.port, path: '/metrics', method: 'GET' });
    return Number(summary.json()['circuit_breaker_openings']);
  }
  async function survives(down: () => unknown, up: () => unknown): Promise<void> {
    const load = senders(ingress.port, 8);
    await until(() => load.acknowledged.length > 50, 'webhooks are taken');
    const openings = await breakerOpenings();
    await down();
    await until(async () => (await breakerOpenings()) > openings, 'the breaker has opened');
    await until(
      () => load.refusals.some(({ code }) => code === 'breaker_open'),
      'webhooks are refused at once',
    );
    await up();
    const before = load.acknowledged.length;
    await until(() => load.acknowledged.length > before + 50, 'webhooks are taken again');
    await load.end();

    for (const { status, retryAfter } of load.refusals) {
      assert.equal(status, 503);
      assert.ok(retryAfter >= 1 && retryAfter <= 2, `Retry-After: ${retryAfter}`);
    }
    const records = (await topics.read(topics.names.raw.oura)).map(({ value }) => String(value));
    const inLog = new Set(records);
    assert.equal(records.length, inLog.size, 'no record stands twice');
    for (const body of load.acknowledged) assert.ok(inLog.has(body), 'what was acknowledged is in the log');
    await until(
      async () => (await call({ port: ingress.port, path: '/health', method: 'GET' })).status === 200,
      'it is healthy',
    );
  }

  test('a broker that is killed and comes back costs no acknowledged record', () =>
    survives(
      () => own.part.stop('SIGKILL'),
      () => own.part.start(),
    ));

  test('nor does a broker that hangs', () =>
    survives(
      () => process.kill(own.pid(), 'SIGSTOP'),
      () => process.kill(own.pid(), 'SIGCONT'),
    ));
});
