/** How long after its answer a webhook is an event in the hands of a reader of committed records, at a steady rate. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pairsOf, type Bench } from '../bench.ts';
import { deleteTopicsWith, deploy, renewOutputs, type Deployment } from '../deployment.ts';
import { startIngress, webhookSecret } from '../ingress.ts';
import { cpuSeconds } from '../machine.ts';
import { OutputsReader } from '../outputs-reader.ts';
import { failure, lastJson, type Started } from '../processes.ts';
import { quantile, rounded, type Figure, type Goal } from '../report.ts';

const ratePerSecond = 500;
const applicationId = 'latency';

interface LatencyRun {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** From the request to its answer. */
  readonly answerP50Ms: number;
  readonly answerP99Ms: number;
  /** What the topology took of a core. */
  readonly cores: number;
  readonly refused: number;
  readonly brokerCpuSeconds: number | undefined;
}

export async function latency(bench: Bench): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const partitions of [4, 12]) {
    const runs = await bench.inTurn(`latency at ${partitions} partitions`, {
      ours: () => run(bench, partitions, startOurs),
      peer: bench.peers.directory === undefined ? undefined : () => run(bench, partitions, startPeer),
    });
    const of = (side: 'ours' | 'peer', value: (run: LatencyRun) => number): number[] =>
      runs.flatMap((pair) => (pair[side] === undefined ? [] : [rounded(value(pair[side]))]));
    // What is promised is promised at the count of partitions that a deployment has.
    const promised = (value: number): Goal[] =>
      partitions === 12 ? [{ of: 'ours', is: 'at most', value }] : [];
    figures.push(
      {
        figure: `latency_p50_${partitions}_partitions`,
        unit: 'ms',
        pairs: pairsOf(runs, ({ p50Ms }) => p50Ms),
        goals: [...promised(12), { of: 'ratio', is: 'at most', value: 0.25 }],
        details: {
          webhooks_per_s: ratePerSecond,
          answer_p50_ms_ours: of('ours', ({ answerP50Ms }) => answerP50Ms),
          answer_p50_ms_peer: of('peer', ({ answerP50Ms }) => answerP50Ms),
          cores_ours: of('ours', ({ cores }) => cores),
          cores_peer: of('peer', ({ cores }) => cores),
          refused: of('ours', ({ refused }) => refused).concat(of('peer', ({ refused }) => refused)),
        },
      },
      {
        figure: `latency_p99_${partitions}_partitions`,
        unit: 'ms',
        pairs: pairsOf(runs, ({ p99Ms }) => p99Ms),
        goals: promised(40),
        details: {
          answer_p99_ms_ours: of('ours', ({ answerP99Ms }) => answerP99Ms),
          answer_p99_ms_peer: of('peer', ({ answerP99Ms }) => answerP99Ms),
        },
      },
    );
  }
  return figures;
}

interface Topology {
  readonly started: Started;
  readonly outputs: readonly string[];
}

async function startOurs(bench: Bench, deployment: Deployment): Promise<Topology> {
  await renewOutputs(bench, deployment, applicationId);
  const { env, names } = deployment;
  const launch = bench.bridge('topology', { ...env, APPLICATION_ID: applicationId, ADMIN_PORT: '0' });
  return { started: bench.processes.start('topology', launch), outputs: Object.values(names.priority) };
}

/** The peer reads what our ingress appends; it is to go on until it is ended. */
async function startPeer(bench: Bench, { prefix, partitions }: Deployment): Promise<Topology> {
  const outPrefix = `${prefix}peer`;
  const launch = bench.peers.kafkaStreams('Streams', {
    brokers: bench.brokers,
    'raw-prefix': `${prefix}raw.`,
    'out-prefix': outPrefix,
    'out-partitions': partitions,
    expect: 1_000_000_000,
    timeout: 3_600,
  });
  if (launch === undefined) throw new Error('the peer is gone');
  const started = bench.processes.start('kafka-streams', launch);
  const outputs = ['high', 'medium', 'normal'].map((name) => `${outPrefix}.${name}`);
  await bench.until('the peer to make its topics', async () => {
    const existing = new Set(await bench.admin.listTopics());
    return outputs.every((name) => existing.has(name)) || undefined;
  });
  return { started, outputs };
}

async function run(
  bench: Bench,
  partitions: number,
  startTopology: (bench: Bench, deployment: Deployment) => Promise<Topology>,
): Promise<LatencyRun> {
  const deployment = await deploy(bench, `bench-late-${randomUUID().slice(0, 8)}.`, partitions);
  const ingress = await startIngress(bench, deployment.prefix, partitions);
  const topology = await startTopology(bench, deployment);
  const reader = await OutputsReader.start(bench, topology.outputs);
  let ended: string | undefined;
  void topology.started.ended.then((code) => (ended = failure(topology.started, code)));
  const sent = async (name: string, seconds: number) => {
    const what = { port: ingress.port, secret: webhookSecret, name, ratePerSecond, seconds };
    const told = lastJson(await bench.processes.run('send', bench.program('send', what))) as unknown as Told;
    const accepted = told.answered_at_ms.flatMap((atMs, number) =>
      atMs === null ? [] : [{ user: `${name}-${number}`, atMs }],
    );
    await bench.until(`the last of ${accepted.length} webhooks`, () => {
      if (ended !== undefined) throw new Error(ended);
      return accepted.every(({ user }) => reader.seenAtMs.has(user)) || undefined;
    });
    const latencies = accepted.map(({ user, atMs }) => (reader.seenAtMs.get(user) ?? NaN) - atMs);
    return { told, latencies };
  };
  // The first appends to each partition make files, and code that was never run is slow: neither is counted.
  await sent('warm', bench.sized(10, 2));
  await sleep(500);
  const [brokerCpu, cpuBefore, begun] = [
    bench.brokerCpuMeter(),
    cpuSeconds(topology.started.pid),
    performance.now(),
  ];
  const { told, latencies } = await sent('user', bench.sized(60, 8));
  const seconds = (performance.now() - begun) / 1_000;
  const cores = (cpuSeconds(topology.started.pid) - cpuBefore) / seconds;
  const brokerCpuSeconds = brokerCpu();
  const { repeated } = reader;
  await reader.stop();
  await topology.started.stop();
  await ingress.started.stop();
  await deleteTopicsWith(bench, deployment.prefix);
  if (repeated > 0) throw new Error(`${repeated} events came out twice: this run does not count`);
  return {
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    answerP50Ms: quantile(told.delays_ms, 0.5),
    answerP99Ms: quantile(told.delays_ms, 0.99),
    cores,
    refused: Object.values(told.refused).reduce((sum, count) => sum + count, 0),
    brokerCpuSeconds,
  };
}

/** The answer of programs/send.ts. */
interface Told {
  readonly answered_at_ms: readonly (number | null)[];
  readonly delays_ms: readonly number[];
  readonly refused: Readonly<Record<string, number>>;
}
