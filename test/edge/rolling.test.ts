import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { after, before, describe, test, type TestContext } from 'node:test';
import { secrets, testTopics, until, type TestTopics } from '../ingress/harness.ts';
import { numberedBody, startLoad, type Outcome } from './load.ts';
import { edgeProcess, get, type EdgeProcess } from './process.ts';
import { isFull, report } from './settings.ts';

const secret = secrets.WHOOP_WEBHOOK_SECRET;
const rounds = isFull ? 10 : 1;

interface Backend {
  readonly port: number;
  isReady: boolean;
}

/** Deals connections out in turn to those that /readyz says are ready, asking often; it repeats nothing. */
class Balancer {
  readonly backends = new Map<number, Backend>();
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((client) => this.#accept(client));
  readonly #asking: NodeJS.Timeout;
  #turn = 0;

  private constructor() {
    this.#asking = setInterval(() => {
      for (const backend of this.backends.values()) {
        get(backend.port, '/readyz').then(
          ({ status }) => (backend.isReady = status === 200),
          () => (backend.isReady = false),
        );
      }
    }, 100);
  }
  static async start(t: TestContext): Promise<Balancer> {
    const balancer = new Balancer();
    balancer.#server.listen(0, '127.0.0.1');
    await once(balancer.#server, 'listening');
    t.after(() => {
      clearInterval(balancer.#asking);
      for (const socket of balancer.#sockets) socket.destroy();
      balancer.#server.close();
    });
    return balancer;
  }
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  async add(port: number): Promise<void> {
    const backend = { port, isReady: false };
    this.backends.set(port, backend);
    await until(() => backend.isReady, 'the balancer sees it ready');
  }

  #accept(client: Socket): void {
    const ready = [...this.backends.values()].filter(({ isReady }) => isReady);
    const chosen = ready[(this.#turn += 1) % ready.length];
    if (chosen === undefined) {
      client.destroy();
      return;
    }
    const backend = connect(chosen.port, '127.0.0.1');
    for (const socket of [client, backend]) {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {
        client.destroy();
        backend.destroy();
      });
    }
    client.pipe(backend).pipe(client);
  }
}

describe('a rolling replacement', { timeout: 120_000 + rounds * 60_000 }, () => {
  let topics: TestTopics;
  before(async () => {
    topics = await testTopics();
  });
  after(() => topics.close());

  async function assertNothingLost({ statuses, codes, acknowledged }: Outcome): Promise<void> {
    assert.deepEqual(Object.keys(statuses), ['200'], JSON.stringify({ statuses, codes }));
    const kept = new Set((await topics.read(topics.names.raw.oura)).map(({ value }) => String(value)));
    assert.deepEqual(
      acknowledged.filter((number) => !kept.has(numberedBody(number))),
      [],
    );
  }
  const env = { OURA_WEBHOOK_SECRET: secret };

  test('of two processes that share a port fails no request', async (t) => {
    const balancer = await Balancer.start(t);
    let serving: EdgeProcess[] = [];
    for (let started = 0; started < 2; started += 1) serving.push(await edgeProcess(t, topics.prefix, env));
    for (const { port } of serving) await balancer.add(port);
    const load = await startLoad({ port: balancer.port, secret, connections: 40 });
    for (let round = 0; round < rounds; round += 1) {
      const fresh: EdgeProcess[] = [];
      for (const old of serving) {
        const replacement = await edgeProcess(t, topics.prefix, env);
        await balancer.add(replacement.port);
        fresh.push(replacement);
        assert.equal(await old.stop(), 0);
        balancer.backends.delete(old.port);
      }
      serving = fresh;
    }
    const outcome = await load.stop();
    report(t, { replaced: rounds * 2, statuses: outcome.statuses });
    await assertNothingLost(outcome);
    for (const one of serving) assert.equal(await one.stop(), 0);
  });

  test('of workers that share the port, one after the other, fails no request', async (t) => {
    const ingress = await edgeProcess(t, topics.prefix, { ...env, WORKERS: '2' });
    const load = await startLoad({ port: ingress.port, secret, connections: 40 });
    const pids = (): number[] =>
      ingress.lines
        .filter(({ msg, workers }) => msg === 'the ingress listens' && workers === undefined)
        .map(({ pid }) => Number(pid));
    for (let replaced = 0; replaced < 2 * rounds; replaced += 1) {
      const before = load.outcome.acknowledged.length;
      await until(() => load.outcome.acknowledged.length > before + 100, 'webhooks are taken');
      process.kill(pids()[replaced]!, 'SIGTERM');
      await until(() => pids().length === 3 + replaced, 'another worker listens');
    }
    const outcome = await load.stop();
    report(t, { replaced: 2 * rounds, statuses: outcome.statuses });
    await assertNothingLost(outcome);
    assert.equal(await ingress.stop(), 0);
    assert.deepEqual(ingress.strays, []);
  });
});
