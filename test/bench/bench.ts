/** What all parts of a bench share. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { stackDirectory } from '../../local/env.ts';
import { livePid } from '../../local/processes.ts';
import { pidFileOf } from '../../local/part.ts';
import type { Stack } from '../../local/stack.ts';
import { projectRoot } from '../../process/root.ts';
import { kafkaClient, type Admin } from '../../kafka/client.ts';
import { silentLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';
import { allocatedMiB, cpuSeconds } from './machine.ts';
import type { Peers } from './peers.ts';
import { Processes, type Launch } from './processes.ts';
import type { Figure, Pair, Run } from './report.ts';
import type { Deployment } from './deployment.ts';
import type { TopologyRun } from './topology-runs.ts';

/** Where the stack of a bench lives, and what it builds. */
export const benchDirectory = '.local/bench';
export const buildDirectory = '.local/bench-build';

export interface BenchOptions {
  readonly quick: boolean;
  readonly pairs: number;
  /** How many raw records the parts preload that process all of them; undefined for the usual count. */
  readonly records?: number | undefined;
}

/** A part: measures, and answers its figures. */
export type BenchPart = (bench: Bench) => Promise<Figure[]>;

export class Bench {
  readonly options: BenchOptions;
  readonly stack: Stack;
  readonly admin: Admin;
  readonly processes: Processes;
  readonly peers: Peers;
  readonly signal: AbortSignal;
  /** Raw topics that are filled already, by partitions and records. */
  readonly preloaded = new Map<string, Promise<Deployment>>();
  /** What part `topology` has measured, for the parts that build on it. */
  readonly runs: { stateless: TopologyRun[]; stores: TopologyRun[] } = { stateless: [], stores: [] };

  constructor(given: {
    options: BenchOptions;
    stack: Stack;
    admin: Admin;
    processes: Processes;
    peers: Peers;
    signal: AbortSignal;
  }) {
    this.options = given.options;
    this.stack = given.stack;
    this.admin = given.admin;
    this.processes = given.processes;
    this.peers = given.peers;
    this.signal = given.signal;
  }

  /** A count, or the smaller one of a quick run. */
  sized(full: number, quick: number): number {
    return this.options.quick ? quick : full;
  }

  get brokers(): string {
    return this.stack.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '';
  }

  get registryUrl(): string {
    return this.stack.env['SCHEMA_REGISTRY_URL'] ?? '';
  }

  progress(line: string): void {
    process.stderr.write(`${line}\n`);
  }

  /** Processor time of the broker so far; undefined when it is no process of this machine. */
  brokerCpuSeconds(): number | undefined {
    const pid = livePid(pidFileOf(join(projectRoot(), benchDirectory), 'kafka-1'));
    return pid === undefined ? undefined : cpuSeconds(pid);
  }

  /** Answers, when called, what the broker has taken since. */
  brokerCpuMeter(): () => number | undefined {
    const before = this.brokerCpuSeconds();
    return () => {
      const after = this.brokerCpuSeconds();
      return before === undefined || after === undefined ? undefined : after - before;
    };
  }

  /** A client of its own for long reads, which would hold up the requests of others. */
  async withAdmin<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const connection = { brokers: this.brokers.split(',') };
    const admin = kafkaClient(connection, { clientId: 'bench-reader', log: silentLog }).admin();
    await admin.connect();
    try {
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }

  /** A command of the built bridge with its arguments, as its operators run it. */
  bridge(command: string | readonly string[], env: Readonly<Record<string, string>>): Launch {
    const args = [join(projectRoot(), 'dist', 'cli', 'main.js'), command].flat();
    return { command: process.execPath, args, env };
  }

  /** The same, which prints at its end what it took of the machine, as the last line of its output: a line of JSON. */
  measuredBridge(command: readonly string[], env: Readonly<Record<string, string>>): Launch {
    const { args, ...launch } = this.bridge(command, env);
    return { ...launch, args: ['--import', this.#programFile('usage'), ...args] };
  }

  /** What topics take of the broker's disk, in MiB. */
  diskMiB(topics: readonly string[]): number {
    const data = join(stackDirectory({}, benchDirectory), 'kafka-1', 'data');
    const wanted = new Set(topics);
    const partitions = readdirSync(data).filter((name) => wanted.has(name.replace(/-\d+$/, '')));
    return partitions.reduce((sum, name) => sum + allocatedMiB(join(data, name)), 0);
  }

  /** One of test/bench/programs, built, with its settings as JSON. */
  program(name: string, settings: object): Launch {
    return {
      command: process.execPath,
      args: [this.#programFile(name), JSON.stringify({ brokers: this.brokers, ...settings })],
    };
  }

  #programFile(name: string): string {
    return join(projectRoot(), buildDirectory, 'test', 'bench', 'programs', `${name}.js`);
  }

  /** Runs both sides as often as was asked for, each time the other one first. */
  async inTurn<O, P = O>(
    what: string,
    sides: { readonly ours: () => Promise<O>; readonly peer?: (() => Promise<P>) | undefined },
    pairs = this.options.pairs,
  ): Promise<{ ours: O; peer: P | undefined }[]> {
    const { ours, peer } = sides;
    const measured: { ours: O; peer: P | undefined }[] = [];
    for (let at = 0; at < pairs; at += 1) {
      const place = `${what}, pair ${at + 1} of ${pairs}`;
      const runOurs = (): Promise<O> => {
        this.progress(`${place}: ours`);
        return ours();
      };
      const runPeer = async (): Promise<P | undefined> => {
        if (peer === undefined) return undefined;
        this.progress(`${place}: the peer`);
        return peer();
      };
      if (at % 2 === 0) {
        const first = await runOurs();
        measured.push({ ours: first, peer: await runPeer() });
      } else {
        const first = await runPeer();
        measured.push({ ours: await runOurs(), peer: first });
      }
    }
    return measured;
  }

  /** As `until` of the tests; also rejects when the bench is ended. */
  until<T>(
    what: string,
    check: () => Promise<T | undefined> | T | undefined,
    { deadlineMs = 60_000, everyMs = 25 } = {},
  ): Promise<T> {
    const ask = (): Promise<T | undefined> | T | undefined => {
      this.signal.throwIfAborted();
      return check();
    };
    return until(what, ask, deadlineMs, everyMs);
  }
}

/** The pairs of one figure, out of runs that measured several. */
export function pairsOf<T extends { readonly brokerCpuSeconds?: number | undefined }>(
  runs: readonly { ours: T; peer: T | undefined }[],
  value: (run: T) => number,
): Pair[] {
  const run = (measured: T): Run => ({
    value: value(measured),
    brokerCpuSeconds: measured.brokerCpuSeconds,
  });
  return runs.map(({ ours, peer }) => ({
    ours: run(ours),
    peer: peer === undefined ? undefined : run(peer),
  }));
}
