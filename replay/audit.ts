/** The audit of all raw partitions: that each accepted record has ended in exactly one accounted way, from topics alone. */
import { Worker } from 'node:worker_threads';
import type { KafkaLog } from '../kafka/client.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import type { Start } from '../topology/start.ts';
import type { VendorName } from '../vendors/index.ts';
import {
  addFigures,
  count,
  noAuditFigures,
  type AuditException,
  type AuditFigures,
} from './audit-figures.ts';
import type { Waiting } from './audit-notifications.ts';
import {
  auditPartition,
  type AuditHooks,
  type AuditScope,
  type AuditTask,
  type PartitionAudit,
} from './audit-partition.ts';
import type { AuditWorkerSettings, FromAuditWorker, ToAuditWorker } from './audit-worker.ts';
import { Deployment, type ReplayConfig } from './deployment.ts';
import { Interrupted } from './exit.ts';
import type { Progress } from './progress.ts';

export interface AuditOptions {
  readonly scope: AuditScope;
  readonly vendors: readonly VendorName[];
  /** Partitions that are audited at a time, each in a thread of its own; 1 needs none. */
  readonly parallel: number;
  readonly log: KafkaLog;
  readonly signal: AbortSignal;
  /** Told of every exception. */
  readonly onException: (exception: AuditException) => void;
  readonly progress?: Progress | undefined;
}

export interface AuditResult {
  readonly figures: AuditFigures;
  /** This build, as outputs name theirs. */
  readonly build: string;
  readonly applicationId: string;
  /** What whoever reads the figures should know. */
  readonly notes: readonly string[];
}

/**
 * Audits the partitions of some vendors. Reads only, joins no group, and needs no pause of the live system.
 * @throws Interrupted, LogMovedError, or what brokers and registry refuse.
 */
export async function audit(config: ReplayConfig, options: AuditOptions): Promise<AuditResult> {
  const { log, vendors, parallel, scope, progress } = options;
  const deployment = await Deployment.open(config, { clientId: 'bridge-audit', log });
  try {
    const { tasks, records, notes } = await plan(deployment, vendors);
    progress?.expect(records);
    const figures = noAuditFigures();
    const waiting = new Map<VendorName, Waiting[]>();
    const hooks: AuditHooks = {
      onExceptions: (exceptions) => exceptions.forEach(options.onException),
      onRecords: (done) => progress?.add(done),
      signal: options.signal,
    };
    const onDone = ({ raw: { vendor } }: AuditTask, done: PartitionAudit): void => {
      addFigures(figures[vendor], done.figures);
      const all = waiting.get(vendor) ?? [];
      for (const one of done.waiting) all.push(one);
      waiting.set(vendor, all);
    };
    const threads = Math.min(parallel, tasks.length);
    const run = { tasks, scope, hooks, onDone };
    if (threads <= 1) await auditHere(deployment, run);
    else await auditInThreads(config, threads, run);
    for (const [vendor, of] of waiting) {
      const exceptions = judgeWaiting(vendor, of, { figures, scope });
      for (const exception of exceptions) {
        count(figures[vendor].exceptions, exception.kind);
        options.onException(exception);
      }
    }
    const { build, applicationId } = deployment;
    return { figures, build, applicationId, notes };
  } finally {
    await deployment.close();
  }
}

interface Plan {
  readonly tasks: readonly AuditTask[];
  /** Raw records to be read, roughly: offsets. */
  readonly records: number;
  readonly notes: readonly string[];
}

async function plan(deployment: Deployment, vendors: readonly VendorName[]): Promise<Plan> {
  // Before the ends of the output topics are read: what is processed later is not expected to be in them.
  const committed = await deployment.committed();
  const starts = new Map<VendorName, readonly Start[]>();
  for (const vendor of vendors) starts.set(vendor, await deployment.starts(deployment.topics.raw[vendor]));
  const tasks: (AuditTask & { records: number })[] = [];
  const begun: VendorName[] = [];
  for (const raw of deployment.rawPartitions(vendors)) {
    const start = starts.get(raw.vendor)?.[raw.partition];
    if (start === undefined) throw new Error(`${raw.topic} has no partition ${raw.partition}`);
    const { end } = await deployment.range(raw.topic, raw.partition);
    const records = Number(end - start.offset);
    if (start.offset > 0n && !begun.includes(raw.vendor)) begun.push(raw.vendor);
    const bounds = { start, committed: committed.get(partitionName(raw)) ?? 0n };
    tasks.push({ raw, bounds, records });
  }
  // The largest first, so that none of them is left alone at the end.
  tasks.sort((a, b) => b.records - a.records);
  const notes: string[] = [];
  const records = tasks.reduce((sum, task) => sum + task.records, 0);
  if (committed.size === 0 && records > 0)
    notes.push(
      `the group ${deployment.applicationId} has committed nothing: check APPLICATION_ID and TOPIC_PREFIX if it has run`,
    );
  for (const vendor of begun)
    notes.push(
      `${deployment.topics.raw[vendor]} does not tell its beginning any more: what came before the last 27 days, or before its log, is taken from the live state`,
    );
  return { tasks, records, notes };
}

interface Run {
  readonly tasks: readonly AuditTask[];
  readonly scope: AuditScope;
  readonly hooks: AuditHooks;
  readonly onDone: (task: AuditTask, audit: PartitionAudit) => void;
}

async function auditHere(deployment: Deployment, { tasks, scope, hooks, onDone }: Run): Promise<void> {
  for (const task of tasks) {
    const { raw, bounds } = task;
    onDone(task, await auditPartition(deployment, raw, { scope, bounds, hooks }));
  }
}

/** Each thread takes the next partition when it is done with one. They only read: to interrupt them is to end them. */
async function auditInThreads(config: ReplayConfig, threads: number, run: Run): Promise<void> {
  const { signal } = run.hooks;
  const settings: AuditWorkerSettings = { config, scope: run.scope };
  const queue = [...run.tasks];
  const workers = Array.from({ length: threads }, () => startThread(settings));
  let end = (): void => undefined;
  const interrupted = new Promise<never>((_, reject) => {
    end = () => reject(new Interrupted());
    signal.addEventListener('abort', end);
    if (signal.aborted) end();
  });
  const work = workers.map((worker) => runThread(worker, queue, run));
  try {
    await Promise.race([Promise.all(work), interrupted]);
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
    await Promise.allSettled(work);
    signal.removeEventListener('abort', end);
  }
}

/** Nearly everything that a record leaves behind dies young: with the default of 16 MiB, a fifth of the time went to moving it. */
const resourceLimits = { maxYoungGenerationSizeMb: 64 };

function startThread(workerData: AuditWorkerSettings): Worker {
  // The sources run under tsx, which a thread does not inherit.
  const isSource = import.meta.url.endsWith('.ts');
  const file = new URL(isSource ? './audit-worker.ts' : './audit-worker.js', import.meta.url);
  const loader = isSource ? { execArgv: ['--import', import.meta.resolve('tsx')] } : {};
  return new Worker(file, { workerData, resourceLimits, ...loader });
}

/** Runs a thread until the queue is empty. @throws Error with what it failed of. */
function runThread(worker: Worker, queue: AuditTask[], { hooks, onDone }: Run): Promise<void> {
  let task: AuditTask | undefined;
  const next = (): void => {
    task = queue.shift();
    const message: ToAuditWorker = task === undefined ? { type: 'end' } : { type: 'task', task };
    worker.postMessage(message);
  };
  return new Promise((resolve, reject) => {
    worker.once('error', reject);
    worker.once('exit', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`a thread of the audit ended with ${code}`));
    });
    worker.on('message', (message: FromAuditWorker) => {
      switch (message.type) {
        case 'ready':
          return next();
        case 'records':
          return hooks.onRecords(message.records);
        case 'exceptions':
          return hooks.onExceptions(message.exceptions);
        case 'done':
          if (task !== undefined) onDone(task, message.audit);
          return next();
        case 'failed':
          return reject(new Error(message.reason));
      }
    });
  });
}

/**
 * Judges notifications without a document by their age. Where no collector runs, every one of them is such: these are one
 * exception.
 */
export function judgeWaiting(
  vendor: VendorName,
  waiting: readonly Waiting[],
  { figures, scope: { nowMs, pendingAfterMs } }: { figures: AuditFigures; scope: AuditScope },
): AuditException[] {
  const old = waiting.filter(({ receivedAt }) => nowMs - receivedAt > pendingAfterMs);
  const { notifications } = figures[vendor];
  if (waiting.length > old.length) count(notifications, 'waiting', waiting.length - old.length);
  const [first] = old;
  if (first === undefined) return [];
  count(notifications, 'unsettled', old.length);
  const since = (receivedAt: number): string => new Date(receivedAt).toISOString();
  if ((notifications.get('documents') ?? 0) > 0)
    return old.map(({ raw, receivedAt }) => {
      const what = `no document has followed this notification of ${since(receivedAt)}`;
      return { kind: 'unsettled', vendor, raw, what };
    });
  const oldest = old.reduce((one, other) => (other.receivedAt < one.receivedAt ? other : one), first);
  const what = `no collector has appended a document: ${old.length} notifications, of which the oldest is this one of ${since(oldest.receivedAt)}, are unsettled`;
  return [{ kind: 'unsettled', vendor, raw: oldest.raw, what }];
}
