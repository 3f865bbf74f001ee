/** A thread of the audit, started by audit.ts. It audits the partitions that it is handed, one after the other. */
import { workerData } from 'node:worker_threads';
import { silentLog } from '../kafka/client.ts';
import { auditPartition, type AuditTask, type PartitionAudit } from './audit-partition.ts';
import type { AuditProgress, AuditThread } from './audit.ts';
import { Deployment } from './deployment.ts';
import { serveTasks } from './threads.ts';

const { config, scope } = workerData as AuditThread;

await serveTasks<AuditTask, AuditProgress, PartitionAudit>(async () => {
  const deployment = await Deployment.open(config, { clientId: 'bridge-audit', log: silentLog });
  return {
    run: ({ raw, bounds }, tell) =>
      auditPartition(deployment, raw, {
        scope,
        bounds,
        hooks: {
          onExceptions: (exceptions) => tell({ exceptions }),
          onRecords: (records) => tell({ records }),
          // An interrupt simply ends the thread.
          signal: new AbortController().signal,
        },
      }),
    close: () => deployment.close(),
  };
});
