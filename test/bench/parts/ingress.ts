/** Webhooks a second and their latency, verified and acknowledged by the broker, by body size. */
import { createHmac, randomUUID } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot } from '../../../process/root.ts';
import { createTopics } from '../../../kafka/topics.ts';
import { freePort } from '../../bridge/harness.ts';
import { webhookBodies } from '../bodies.ts';
import { buildDirectory, pairsOf, type Bench } from '../bench.ts';
import { countAppended } from '../committed.ts';
import { deleteTopicsWith } from '../deployment.ts';
import { startIngress, webhookSecret, type RunningIngress } from '../ingress.ts';
import { cpuSeconds, peakMiB } from '../machine.ts';
import { lastJson, numberOf } from '../processes.ts';
import type { Figure } from '../report.ts';
import { topicSpecs, topicNames } from '../../../schemas/topics.ts';
import { vendorNames } from '../../../vendors/index.ts';

const connections = 32;
const partitions = 4;

const sizes = [
  { name: '0.2kB', bytes: 200, bodies: 2_000, timesPeer: 6 },
  { name: '20kB', bytes: 20_000, bodies: 200, timesPeer: 1 },
  { name: '200kB', bytes: 200_000, bodies: 50, timesPeer: 1 },
] as const;
type Size = (typeof sizes)[number];

interface IngressRun {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuSeconds: number;
  readonly peakMiB: number;
  readonly brokerCpuSeconds: number | undefined;
  /** Records appended beyond the answers that wrk has counted: what was under way when it stopped. */
  readonly uncounted: number;
}

export async function ingress(bench: Bench): Promise<Figure[]> {
  installWrk(bench);
  const figures: Figure[] = [];
  for (const size of sizes) {
    const bodies = writeBodies(size);
    const seed = bench.peers.directory === undefined ? undefined : () => runPeer(bench, bodies);
    const runs = await bench.inTurn(`ingress ${size.name}`, {
      ours: () => runOurs(bench, bodies),
      peer: seed,
    });
    const of = (side: 'ours' | 'peer', value: (run: IngressRun) => number): number[] =>
      runs.flatMap((pair) => (pair[side] === undefined ? [] : [Math.round(value(pair[side]) * 100) / 100]));
    const details = Object.fromEntries(
      (['ours', 'peer'] as const).flatMap((side) => [
        [`requests_${side}`, of(side, ({ requests }) => requests)],
        [`requests_per_cpu_s_${side}`, of(side, (run) => run.requests / run.cpuSeconds)],
        [`peak_mib_${side}`, of(side, (run) => run.peakMiB)],
        [`appended_beyond_answers_${side}`, of(side, ({ uncounted }) => uncounted)],
      ]),
    );
    figures.push(
      {
        figure: `ingress_rps_${size.name}`,
        unit: 'webhooks/s',
        pairs: pairsOf(runs, ({ requestsPerSecond }) => requestsPerSecond),
        goals: [{ of: 'ratio', is: 'at least', value: size.timesPeer }],
        details,
      },
      {
        figure: `ingress_p99_${size.name}`,
        unit: 'ms',
        pairs: pairsOf(runs, ({ p99Ms }) => p99Ms),
        goals: [{ of: 'ratio', is: 'at most', value: 0.333 }],
        details: { p50_ours: of('ours', ({ p50Ms }) => p50Ms), p50_peer: of('peer', ({ p50Ms }) => p50Ms) },
      },
    );
  }
  return figures;
}

async function runOurs(bench: Bench, bodies: string): Promise<IngressRun> {
  const prefix = `bench-edge-${randomUUID().slice(0, 8)}.`;
  const names = topicNames(prefix, vendorNames);
  await createTopics(bench.admin, topicSpecs(names), { partitions, replicationFactor: 1 });
  const running = await startIngress(bench, prefix, partitions);
  return loaded(bench, running, { bodies, header: 'Signature', topics: [names.raw.oura], prefix });
}

async function runPeer(bench: Bench, bodies: string): Promise<IngressRun> {
  const prefix = `bench-seed-${randomUUID().slice(0, 8)}`;
  const topics = ['high', 'medium', 'normal'].map((priority) => `${prefix}.${priority}`);
  const specs = topics.map((name) => ({ name, config: { 'max.message.bytes': String(4 * 1024 * 1024) } }));
  await createTopics(bench.admin, specs, { partitions, replicationFactor: 1 });
  const port = await freePort();
  const launch = bench.peers.seedBridge({ brokers: bench.brokers, prefix, secret: webhookSecret, port });
  if (launch === undefined) throw new Error('the peer is gone');
  const started = bench.processes.start('seed-bridge', launch);
  // Where it has to install its packages first, that takes minutes; it is not counted.
  await bench.until(
    'the peer to listen',
    async () => {
      const health = await fetch(`http://127.0.0.1:${port}/health`).catch(() => undefined);
      return health?.status === 200 || undefined;
    },
    { deadlineMs: 600_000, everyMs: 100 },
  );
  return loaded(bench, { started, port }, { bodies, header: 'X-Oura-Signature', topics, prefix });
}

/** A second that is not counted, then the load; checks that each answer 200 has its record. */
async function loaded(
  bench: Bench,
  { started, port }: RunningIngress,
  what: { bodies: string; header: string; topics: readonly string[]; prefix: string },
): Promise<IngressRun> {
  await wrk(bench, port, what, 1);
  const before = await settled(bench, what.topics);
  const [cpuBefore, brokerCpu] = [cpuSeconds(started.pid), bench.brokerCpuMeter()];
  const told = await wrk(bench, port, what, bench.sized(20, 3));
  const cpu = cpuSeconds(started.pid) - cpuBefore;
  const brokerCpuSeconds = brokerCpu();
  const memory = peakMiB(started.pid);
  const appended = (await settled(bench, what.topics)) - before;
  await started.stop();
  await deleteTopicsWith(bench, what.prefix);
  const requests = numberOf(told, 'requests');
  const failed = numberOf(told, 'bad_status') + numberOf(told, 'socket_errors');
  const uncounted = appended - requests;
  if (failed > 0 || uncounted < 0 || uncounted > connections)
    throw new Error(
      `${requests} requests, ${failed} of them without an answer 200, led to ${appended} records: this run does not count`,
    );
  return {
    requests,
    requestsPerSecond: numberOf(told, 'requests_per_s'),
    p50Ms: numberOf(told, 'p50_ms'),
    p99Ms: numberOf(told, 'p99_ms'),
    cpuSeconds: cpu,
    peakMiB: memory,
    brokerCpuSeconds,
    uncounted,
  };
}

/** What stands in the topics once nothing more arrives. */
async function settled(bench: Bench, topics: readonly string[]): Promise<number> {
  for (let last = -1; ;) {
    const now = await countAppended(bench.admin, topics);
    if (now === last) return now;
    last = now;
    await sleep(200);
  }
}

async function wrk(
  bench: Bench,
  port: number,
  { bodies, header }: { bodies: string; header: string },
  seconds: number,
): Promise<Readonly<Record<string, unknown>>> {
  const script = join(projectRoot(), 'test', 'bench', 'webhook.lua');
  const lines = await bench.processes.run('wrk', {
    command: 'wrk',
    args: [
      ...['-t', '1', '-c', String(connections), '-d', `${seconds}s`, '--timeout', '10s'],
      ...['-s', script, `http://127.0.0.1:${port}/webhook/oura`],
    ],
    env: { BENCH_BODIES: bodies, BENCH_SIGNATURE_HEADER: header },
  });
  return lastJson(lines);
}

function writeBodies({ name, bytes, bodies }: Size): string {
  const directory = join(projectRoot(), buildDirectory, 'bodies');
  mkdirSync(directory, { recursive: true });
  const file = join(directory, name);
  const lines = webhookBodies({ bytes, count: bodies, seed: 1 }).map(
    (body) => `${createHmac('sha256', webhookSecret).update(body).digest('hex')} ${body}\n`,
  );
  writeFileSync(file, lines.join(''));
  return file;
}

function installWrk(bench: Bench): void {
  const isThere = (program: string): boolean =>
    (process.env['PATH'] ?? '').split(delimiter).some((folder) => existsSync(join(folder, program)));
  if (isThere('wrk')) return;
  if (!isThere('apt-get') || process.getuid?.() !== 0)
    throw new Error('wrk is missing: install it (on Debian, as root: apt-get install -y wrk)');
  bench.progress('installing wrk with apt-get');
  execFileSync('apt-get', ['install', '-y', '-qq', 'wrk'], { stdio: ['ignore', 'ignore', 'inherit'] });
}
