/** Three brokers and nothing else, which a test restarts and kills under webhooks. */
import { Agent } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { keyPartition, type Admin } from '../../kafka/client.ts';
import { broker } from '../../local/broker.ts';
import { fetchSoftware } from '../../local/maven.ts';
import { pidFileOf, type Part } from '../../local/part.ts';
import { freePorts } from '../../local/ports.ts';
import { livePid } from '../../local/processes.ts';
import { newClusterId } from '../../local/stack.ts';
import { partitions, signed, until } from '../ingress/harness.ts';

export interface ThreeBrokers {
  /** The first has the node id 1. */
  readonly brokers: readonly Part[];
  readonly servers: string;
  /** Kills them and removes their data. */
  remove(): Promise<void>;
}

export async function threeBrokers(): Promise<ThreeBrokers> {
  const directory = mkdtempSync(join(tmpdir(), 'three-brokers-'));
  const onProgress = (): void => undefined;
  const ports = await freePorts(3);
  const clusterId = newClusterId();
  const brokers = [0, 1, 2].map((index) =>
    broker({
      directory,
      index,
      ports,
      clusterId,
      durable: false,
      software: () => fetchSoftware({ env: process.env, onProgress }),
      onProgress,
    }),
  );
  const pids = (): number[] => brokers.flatMap(({ name }) => livePid(pidFileOf(directory, name)) ?? []);
  // The hooks of a test do not run when it is interrupted.
  const interrupted = (): void => {
    for (const pid of pids()) process.kill(pid, 'SIGKILL');
    process.exit(130);
  };
  process.once('SIGTERM', interrupted);
  await Promise.all(brokers.map((one) => one.start()));
  return {
    brokers,
    servers: ports.kafka.map((port) => `127.0.0.1:${port}`).join(','),
    async remove() {
      await Promise.all(brokers.map((one) => one.stop('SIGKILL')));
      process.off('SIGTERM', interrupted);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The leader of each partition of `topics`, as `topic:partition`. */
export async function leadersOf(admin: Admin, topics: readonly string[]): Promise<Map<string, number>> {
  return new Map((await placed(admin, topics)).map(({ partition, leader }) => [partition, leader]));
}

/** Resolves once all replicas of `topics` are in sync. */
export function inSync(admin: Admin, topics: readonly string[]): Promise<void> {
  return until(
    async () => (await placed(admin, topics)).every(({ isr, replicas }) => isr.length === replicas.length),
    'all replicas are in sync',
    90_000,
  );
}

/** Whether a broker's replicas are left out of those in sync, except where it leads. */
export async function isLeftOut(admin: Admin, topics: readonly string[], broker: number): Promise<boolean> {
  return (await placed(admin, topics)).every(({ leader, isr }) => leader === broker || !isr.includes(broker));
}

interface Placed {
  readonly partition: string;
  readonly leader: number;
  readonly isr: readonly number[];
  readonly replicas: readonly number[];
}

/** Asks again when the broker that was asked has just been killed. */
async function placed(admin: Admin, topics: readonly string[]): Promise<Placed[]> {
  let metadata: Awaited<ReturnType<Admin['fetchTopicMetadata']>> | undefined;
  await until(
    async () =>
      (metadata = await admin.fetchTopicMetadata({ topics: [...topics] }).catch(() => undefined)) !==
      undefined,
    'a broker answers',
  );
  return (metadata?.topics ?? []).flatMap(({ name, partitions: all }) =>
    all.map(({ partitionId, leader, isr, replicas }) => ({
      partition: `${name}:${partitionId}`,
      leader,
      isr,
      replicas,
    })),
  );
}

/** A webhook that was sent, and its answer. */
export interface Webhook {
  readonly body: string;
  /** `topic:partition` of its record. */
  readonly partition: string;
  readonly atMs: number;
  readonly ms: number;
  readonly status: number;
  readonly code: string;
}

/** Sends `rate` webhooks a second to the devices in turn, however long the answers take, until it is ended. */
export function steadyWebhooks(options: {
  readonly port: number;
  readonly rate: number;
  /** The topic of each device. */
  readonly topics: Readonly<Record<string, string>>;
}): { readonly answered: readonly Webhook[]; end(): Promise<readonly Webhook[]> } {
  const { port, rate } = options;
  const topics = Object.entries(options.topics);
  const agent = new Agent({ keepAlive: true });
  const answered: Webhook[] = [];
  const underWay = new Set<Promise<void>>();
  const startedAt = performance.now();
  let sent = 0;
  const send = async (number: number): Promise<void> => {
    const [device, topic] = topics[number % topics.length]!;
    const user = `user-${Math.floor(number / topics.length) % 97}`;
    const body = JSON.stringify({ user_id: user, number });
    const atMs = performance.now();
    const answer = await signed(port, device, body, { agent }).catch((error: unknown) => ({
      status: 0,
      json: () => ({ code: String(error) }),
    }));
    answered.push({
      body,
      partition: `${topic}:${keyPartition(Buffer.from(user), partitions)}`,
      atMs,
      ms: performance.now() - atMs,
      status: answer.status,
      code: answer.status === 200 ? '' : String(answer.json()['code']),
    });
  };
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * rate);
    for (; sent < due; sent += 1) {
      const one = send(sent).finally(() => underWay.delete(one));
      underWay.add(one);
    }
  }, 5);
  return {
    answered,
    async end() {
      clearInterval(timer);
      while (underWay.size > 0) await Promise.race([Promise.all(underWay), sleep(100)]);
      agent.destroy();
      return answered;
    },
  };
}
