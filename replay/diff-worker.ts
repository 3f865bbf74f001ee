/**
 * A thread of `bridge replay diff`, started by diff-run.ts. It compares the parts that it is handed, one after the other.
 */
import { workerData } from 'node:worker_threads';
import { silentLog } from '../kafka/client.ts';
import { Deployment } from './deployment.ts';
import { diffPart, type DiffPart } from './diff.ts';
import type { DiffCounts, DifferenceLine } from './diff-counts.ts';
import type { DiffProgress, DiffThread } from './diff-run.ts';
import { serveTasks } from './threads.ts';

const { config, rules, options, isListing } = workerData as DiffThread;
/** Lines that are reported together. */
const maxLines = 500;

await serveTasks<DiffPart, DiffProgress, DiffCounts>(async () => {
  const deployment = await Deployment.open(config, { clientId: 'bridge-replay-diff', log: silentLog, rules });
  return {
    async run(part, tell) {
      let lines: DifferenceLine[] = [];
      const flush = (): void => {
        if (lines.length > 0) tell({ lines });
        lines = [];
      };
      const counts = await diffPart(deployment, part, options, {
        onProgress: (records) => tell({ records }),
        onDifference: (line) => {
          if (!isListing) return;
          lines.push(line);
          if (lines.length === maxLines) flush();
        },
      });
      flush();
      return counts;
    },
    close: () => deployment.close(),
  };
});
