/** A thread of the audit: one partition after the other, over connections of its own. */
import { parentPort, workerData } from 'node:worker_threads';
import type { AuditException } from './audit-figures.ts';
import { auditPartition, type AuditScope, type AuditTask, type PartitionAudit } from './audit-partition.ts';
import { Deployment, type ReplayConfig } from './deployment.ts';
import { Interrupted } from './exit.ts';

export interface AuditWorkerSettings {
  readonly config: ReplayConfig;
  readonly scope: AuditScope;
}

export type ToAuditWorker =
  | { readonly type: 'task'; readonly task: AuditTask }
  /** There is nothing left to do. */
  | { readonly type: 'end' }
  /** The command was interrupted. */
  | { readonly type: 'stop' };

export type FromAuditWorker =
  | { readonly type: 'ready' }
  | { readonly type: 'records'; readonly records: number }
  | { readonly type: 'exceptions'; readonly exceptions: readonly AuditException[] }
  | { readonly type: 'done'; readonly audit: PartitionAudit }
  | { readonly type: 'failed'; readonly reason: string; readonly isInterrupted: boolean };

const port = parentPort;
if (port === null) throw new Error('this is a thread of bridge audit, and no program');
const send = (message: FromAuditWorker): void => port.postMessage(message);
const { config, scope } = workerData as AuditWorkerSettings;
const silentLog = { debug: () => undefined, warn: () => undefined, error: () => undefined };
const stopping = new AbortController();
const hooks = {
  onExceptions: (exceptions: readonly AuditException[]) => send({ type: 'exceptions', exceptions }),
  onRecords: (records: number) => send({ type: 'records', records }),
  signal: stopping.signal,
};

/** Fails once, in words: an error does not keep its class between threads. */
function fail(error: unknown): void {
  const reason = error instanceof Error ? error.message : 'unknown failure';
  send({ type: 'failed', reason, isInterrupted: error instanceof Interrupted });
}

let deployment: Deployment | undefined;
async function take(message: ToAuditWorker): Promise<void> {
  if (message.type === 'stop') {
    stopping.abort();
  } else if (message.type === 'end') {
    await deployment?.close();
    port?.close();
  } else if (deployment !== undefined) {
    const { raw, bounds } = message.task;
    send({ type: 'done', audit: await auditPartition(deployment, raw, { scope, bounds, hooks }) });
  }
}

port.on('message', (message: ToAuditWorker) => {
  take(message).catch(fail);
});
try {
  deployment = await Deployment.open(config, { clientId: 'bridge-audit', log: silentLog });
  send({ type: 'ready' });
} catch (error) {
  fail(error);
}
