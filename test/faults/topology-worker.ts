/**
 * An instance of the bridge's topology as a process of its own, for tests that kill it. Takes its settings as JSON in
 * its first argument. Standard output has one line for each state, each restored task and each sleep; standard error
 * has the log from info up. SIGUSR2 lets it stop itself (SIGSTOP) inside a transaction; it ends on SIGTERM.
 */
import { pino } from 'pino';
import { readConfig } from '../../process/config.ts';
import { runUntilSignal } from '../../process/run.ts';
import { topologyVariables } from '../../topology/config.ts';
import { readState } from '../../topology/generation-state.ts';
import { GenerationTask } from '../../topology/generation-task.ts';
import { startTopology } from '../../topology/main.ts';
import type { CommitStep } from '../../streams/index.ts';
import { plant, type Plant } from './plant.ts';

/** What a task of a candidate does besides its records. */
export type Phase = 'seed' | 'takeover' | 'corrections';

/** When a worker kills itself. */
export interface Crash {
  /** After this step of a commit; `during commit`: some milliseconds after the commit was asked for. */
  readonly step: CommitStep | 'during commit';
  /** Counts only transactions with work of this phase of a candidate. Their step `begin` is that of the next transaction. */
  readonly phase?: Phase;
  /** In which transaction of the process, counted from 1. Default 1. */
  readonly transaction?: number;
  /** For `during commit`. Default 0: at the next turn of the event loop. */
  readonly delayMs?: number;
}

export interface WorkerSettings {
  /** The environment of the topology process. */
  readonly env: Readonly<Record<string, string>>;
  readonly crash?: Crash;
  /** After which step of a commit SIGUSR2 stops it. Default `changelogs`, when outputs and changelogs are in the log. */
  readonly sleepAfter?: CommitStep;
  /** A fault of its normalizers, as a build before might have had it. */
  readonly plant?: readonly Plant[];
  /** Makes one transaction of corrections in each task, and the others once it has got SIGUSR2. */
  readonly holdsCorrections?: boolean;
  /** Starts a candidate with the state of this generation, to go back to it. */
  readonly from?: number;
}

const {
  env,
  crash,
  sleepAfter = 'changelogs',
  plant: planted,
  from,
  holdsCorrections = false,
} = JSON.parse(process.argv[2] ?? '{}') as WorkerSettings;

const log = pino(
  { level: 'info' },
  {
    write(line: string) {
      process.stderr.write(line);
      const entry = JSON.parse(line) as { msg?: string; state?: string; task?: string; records?: number };
      if (entry.msg === 'state') process.stdout.write(`${entry.state}\n`);
      if (entry.msg === 'task restored')
        process.stdout.write(`RESTORED ${entry.task} ${String(entry.records)}\n`);
    },
  },
);

for (const fault of planted ?? []) plant(fault);

let sleepy = false;
let isHolding = holdsCorrections;
process.on('SIGUSR2', () => {
  sleepy = !isHolding;
  isHolding = false;
});
const die = (): void => {
  process.kill(process.pid, 'SIGKILL');
};

/** The phases of which the open transaction holds work. */
const phases = new Set<Phase>();
/** The tasks that have begun to correct. */
const correcting = new WeakSet<GenerationTask>();
const { punctuate } = GenerationTask.prototype;
GenerationTask.prototype.punctuate = function (task) {
  const isDone = (name: Phase): boolean => readState(task.stores, name)?.done === true;
  const phase = isDone('takeover') ? 'corrections' : isDone('seed') ? 'takeover' : 'seed';
  phases.add(phase);
  if (phase === 'corrections') correcting.add(this);
  punctuate.call(this, task);
};
const isDue = Object.getOwnPropertyDescriptor(GenerationTask.prototype, 'isDue')?.get;
Object.defineProperty(GenerationTask.prototype, 'isDue', {
  get(this: GenerationTask): boolean {
    return isDue?.call(this) === true && !(isHolding && correcting.has(this));
  },
});

let transaction = 0;
function afterStep(step: CommitStep): void {
  const isOfPhase = crash?.phase !== undefined && phases.has(crash.phase);
  if (step === 'begin') phases.clear();
  if (crash?.phase === undefined ? step === 'begin' : step === 'outputs' && isOfPhase) transaction += 1;
  if (crash?.phase !== undefined && !isOfPhase) return sleepIfAsked(step);
  if (crash !== undefined && transaction >= (crash.transaction ?? 1)) {
    if (step === crash.step) die();
    // The commit is asked for as soon as this returns.
    if (crash.step === 'during commit' && step === 'offsets') {
      const { delayMs = 0 } = crash;
      if (delayMs === 0) setImmediate(die);
      else setTimeout(die, delayMs);
    }
  }
  sleepIfAsked(step);
}

function sleepIfAsked(step: CommitStep): void {
  if (sleepy && step === sleepAfter) {
    sleepy = false;
    process.stdout.write('SLEEPING\n');
    process.kill(process.pid, 'SIGSTOP');
  }
}

process.exitCode = await runUntilSignal(log, () =>
  startTopology(readConfig(topologyVariables, env), log, {
    from,
    // The shortest that brokers allow: the group waits as long for a member that was killed.
    streams: { sessionTimeoutMs: 6_000, afterStep },
  }),
);
