/**
 * The audit of all raw partitions: proves from topics alone that each accepted record has ended in exactly one accounted
 * way.
 */
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
import { Deployment, type ReplayConfig } from './deployment.ts';
import type { Progress } from './progress.ts';
import { runInThreads } from './threads.ts';

export interface AuditOptions {
  readonly scope: AuditScope;
  readonly vendors: readonly VendorName[];
  /** Partitions that are audited at a time, each in a thread of its own; 1 needs none. */
  readonly parallel: number;
  readonly log: KafkaLog;
  readonly signal: AbortSignal;
  /** Called with every exception. */
  readonly onException: (exception: AuditException) => void;
  readonly progress?: Progress | undefined;
}

/** What a thread begins with. */
export interface AuditThread {
  readonly config: ReplayConfig;
  readonly scope: AuditScope;
}

/** What a thread reports while it audits. */
export type AuditProgress = { readonly records: number } | { readonly exceptions: readonly AuditException[] };

export interface AuditResult {
  readonly figures: AuditFigures;
  /** This build, as outputs name theirs. */
  readonly build: string;
  readonly applicationId: string;
  /** What a reader of the figures should know. */
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
    else {
      const thread: AuditThread = { config, scope };
      await runInThreads<AuditTask, AuditProgress, PartitionAudit>({
        module: 'audit-worker',
        workerData: thread,
        tasks,
        threads,
        signal: options.signal,
        onProgress: (told) => {
          if ('records' in told) hooks.onRecords(told.records);
          else hooks.onExceptions(told.exceptions);
        },
        onDone,
      });
    }
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
  // Before the ends of the output topics are read, so that nothing processed later is expected in them.
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
      `${deployment.topics.raw[vendor]} no longer has its beginning: what came before the last 27 days, or before its log, is taken from the live state`,
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

/**
 * Judges notifications without a document by their age. If no collector runs, none has a document, and together they are
 * one exception.
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
