/** How much `bridge audit` and `bridge replay diff` slow the live system down: latencies with either next to it, and without. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pairsOf, type Bench } from '../bench.ts';
import { deleteTopicsWith, load, renewOutputs, type Deployment } from '../deployment.ts';
import { startIngress, webhookSecret } from '../ingress.ts';
import { cpuSeconds } from '../machine.ts';
import { OutputsReader } from '../outputs-reader.ts';
import { failure, lastJson, numberOf, type Started } from '../processes.ts';
import { quantile, rounded, type Figure, type Goal } from '../report.ts';
import { untilCommitted } from '../topology-runs.ts';

const ratePerSecond = 200;
const partitions = 4;
const applicationId = 'beside';
const commands = { audit: ['audit'], diff: ['replay', 'diff'] } as const;

/** A live system with a history, under steady traffic. */
interface Live {
  readonly env: Readonly<Record<string, string>>;
  readonly topology: Started;
  readonly reader: OutputsReader;
  readonly port: number;
}

interface Window {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** What the topology took of a core. */
  readonly cores: number;
  /** What the command took of one meanwhile. */
  readonly commandCores: number;
  readonly brokerCpuSeconds: number | undefined;
}

export async function beside(bench: Bench): Promise<Figure[]> {
  // As much as a command reads in a window: it starts again where it is done before.
  const records = bench.sized(300_000, 50_000);
  const deployment = await load(bench, `bench-beside-${randomUUID().slice(0, 8)}.`, partitions, records);
  const ingress = await startIngress(bench, deployment.prefix, partitions);
  const live = await startLive(bench, deployment, ingress.port);
  // The first appends make files, and code that was never run is slow.
  await latencies(bench, live, bench.sized(5, 2));
  // One pair of windows, which are short, says nothing.
  const pairs = bench.sized(Math.max(3, bench.options.pairs), bench.options.pairs);
  const figures: Figure[] = [];
  for (const [name, command] of Object.entries(commands)) {
    const sides = {
      ours: () => measured(bench, live, command),
      peer: () => measured(bench, live, undefined),
    };
    const runs = await bench.inTurn(`beside ${name}`, sides, pairs);
    const goals: readonly Goal[] = [{ of: 'ratio', is: 'at most', value: 1.1 }];
    const cores = (of: (window: Window) => number, side: 'ours' | 'peer'): number[] =>
      runs.flatMap((pair) => (pair[side] === undefined ? [] : [rounded(of(pair[side]))]));
    figures.push(
      {
        figure: `beside_${name}_p50`,
        unit: 'ms',
        pairs: pairsOf(runs, ({ p50Ms }) => p50Ms),
        goals,
        details: {
          webhooks_per_s: ratePerSecond,
          topology_cores: cores((window) => window.cores, 'ours'),
          topology_cores_alone: cores((window) => window.cores, 'peer'),
          command_cores: cores((window) => window.commandCores, 'ours'),
        },
      },
      { figure: `beside_${name}_p99`, unit: 'ms', pairs: pairsOf(runs, ({ p99Ms }) => p99Ms), goals: [] },
    );
  }
  await live.reader.stop();
  await live.topology.stop();
  await ingress.started.stop();
  await deleteTopicsWith(bench, deployment.prefix);
  return figures;
}

async function startLive(bench: Bench, deployment: Deployment, port: number): Promise<Live> {
  await renewOutputs(bench, deployment, applicationId);
  const env = { ...deployment.env, APPLICATION_ID: applicationId };
  const launch = bench.bridge('topology', { ...env, ADMIN_PORT: '0' });
  const topology = bench.processes.start('topology', launch);
  bench.progress(`beside: the topology processes ${deployment.records.toLocaleString('en')} records first`);
  await untilCommitted(bench, deployment, `${deployment.prefix}${applicationId}`, [topology]);
  const reader = await OutputsReader.start(bench, Object.values(deployment.names.priority), 'end');
  return { env, topology, reader, port };
}

/** Latencies of a window, with a command next to it for all of it, or without one. */
async function measured(bench: Bench, live: Live, command: readonly string[] | undefined): Promise<Window> {
  const running = command === undefined ? undefined : repeat(bench, live, command);
  // It has to be at its work.
  await sleep(bench.sized(2_000, 1_000));
  const [brokerCpu, before, begun] = [
    bench.brokerCpuMeter(),
    cpuSeconds(live.topology.pid),
    performance.now(),
  ];
  const values = await latencies(bench, live, bench.sized(15, 5));
  const seconds = (performance.now() - begun) / 1_000;
  const cores = (cpuSeconds(live.topology.pid) - before) / seconds;
  const brokerCpuSeconds = brokerCpu();
  const commandCores = (await running?.stop()) ?? 0;
  return {
    p50Ms: quantile(values, 0.5),
    p99Ms: quantile(values, 0.99),
    cores,
    commandCores,
    brokerCpuSeconds,
  };
}

/** Runs a command again and again; stop() answers what it has taken of a core. */
function repeat(bench: Bench, { env }: Live, command: readonly string[]): { stop(): Promise<number> } {
  const stopped = new AbortController();
  let cpu = 0;
  const begun = performance.now();
  const runs = (async () => {
    while (!stopped.signal.aborted) {
      const running = bench.processes.start(command.join('-'), bench.measuredBridge(command, env));
      const stop = (): void => void running.stop();
      stopped.signal.addEventListener('abort', stop);
      const code = await running.ended;
      stopped.signal.removeEventListener('abort', stop);
      // Stopped right after its start it does not tell.
      const isDone = code === 0 || stopped.signal.aborted;
      if (!isDone) throw new Error(failure(running, code));
      if (running.lines.length > 0) cpu += numberOf(lastJson(running.lines), 'cpu_seconds');
    }
  })();
  runs.catch(() => undefined);
  return {
    async stop() {
      stopped.abort();
      await runs;
      return cpu / ((performance.now() - begun) / 1_000);
    },
  };
}

/** Milliseconds from the answer to each webhook until a reader of committed records had its event. */
async function latencies(bench: Bench, { topology, reader, port }: Live, seconds: number): Promise<number[]> {
  const name = randomUUID().slice(0, 8);
  const what = { port, secret: webhookSecret, name, ratePerSecond, seconds };
  const told = lastJson(await bench.processes.run('send', bench.program('send', what)));
  const answered = told['answered_at_ms'] as readonly (number | null)[];
  let ended: string | undefined;
  void topology.ended.then((code) => (ended = failure(topology, code)));
  const accepted = answered.flatMap((atMs, number) =>
    atMs === null ? [] : [{ user: `${name}-${number}`, atMs }],
  );
  await bench.until(`the last of ${accepted.length} webhooks`, () => {
    if (ended !== undefined) throw new Error(ended);
    return accepted.every(({ user }) => reader.seenAtMs.has(user)) || undefined;
  });
  return accepted.map(({ user, atMs }) => (reader.seenAtMs.get(user) ?? NaN) - atMs);
}
