/** A thread of the audit: one partition after the other, over connections of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AuditException } from './audit-figures.ts';
import { auditPartition, type AuditScope, type AuditTask, type PartitionAudit } from './audit-partition.ts';
import { Deployment, type ReplayConfig } from './deployment.ts';

export interface AuditWorkerSettings {
  readonly config: ReplayConfig;
  readonly scope: AuditScope;
}

export type ToAuditWorker =
  | { readonly type: 'task'; readonly task: AuditTask }
  /** There is nothing left to do. */
  | { readonly type: 'end' };

export type FromAuditWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'records'; readonly records: number }
  | { readonly type: 'exceptions'; readonly exceptions: readonly AuditException[] }
  | { readonly type: 'done'; readonly audit: PartitionAudit }
  | { readonly type: 'failed'; readonly reason: string };

const { config, scope } = workerData as AuditWorkerSettings;
const log = { debug: () => undefined, warn: () => undefined, error: () => undefined };
const tell = (message: FromAuditWorker): void => parentPort?.postMessage(message);
const hooks = {
  onExceptions: (exceptions: readonly AuditException[]) => tell({ type: 'exceptions', exceptions }),
  onRecords: (records: number) => tell({ type: 'records', records }),
  // To interrupt a thread is to end it.
  signal: new AbortController().signal,
};

try {
  const deployment = await Deployment.open(config, { clientId: 'bridge-audit', log });
  const take = async (message: ToAuditWorker): Promise<void> => {
    if (message.type === 'end') {
      await deployment.close();
      parentPort?.close();
      return;
    }
    const { raw, bounds } = message.task;
    tell({ type: 'done', audit: await auditPartition(deployment, raw, { scope, bounds, hooks }) });
  };
  parentPort?.on('message', (message: ToAuditWorker) => void take(message).catch(fail));
  tell({ type: 'ready' });
} catch (error) {
  fail(error);
}

/** An error does not keep its class between threads. */
function fail(error: unknown): void {
  tell({ type: 'failed', reason: error instanceof Error ? error.message : 'unknown failure' });
}
