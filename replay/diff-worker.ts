/** A thread of `bridge replay diff`, started by diff-run.ts: compares the parts that it is handed, one after the other. */
import { parentPort, workerData } from 'node:worker_threads';
import { Deployment } from './deployment.ts';
import { diffPart, type DiffPart } from './diff.ts';
import type { DifferenceLine } from './diff-counts.ts';
import type { DiffThread, FromThread, ToThread } from './diff-run.ts';

const { config, rules, options, isListing } = workerData as DiffThread;
const log = { debug: () => undefined, warn: () => undefined, error: () => undefined };
/** Lines that are told together. */
const maxLines = 500;

const tell = (message: FromThread): void => parentPort?.postMessage(message);

async function compare(deployment: Deployment, part: DiffPart): Promise<void> {
  let lines: DifferenceLine[] = [];
  const flush = (): void => {
    if (lines.length > 0) tell({ type: 'differences', lines });
    lines = [];
  };
  const counts = await diffPart(deployment, part, options, {
    onProgress: (records) => tell({ type: 'progress', records }),
    onDifference: (line) => {
      if (!isListing) return;
      lines.push(line);
      if (lines.length === maxLines) flush();
    },
  });
  flush();
  tell({ type: 'compared', part, counts });
}

try {
  const deployment = await Deployment.open(config, { clientId: 'bridge-replay-diff', log, rules });
  parentPort?.on('message', (message: ToThread) => {
    const done =
      message.type === 'end'
        ? deployment.close().then(() => parentPort?.close())
        : compare(deployment, message.part);
    done.catch(fail);
  });
  tell({ type: 'ready' });
} catch (error) {
  fail(error);
}

function fail(error: unknown): void {
  tell({ type: 'failed', message: error instanceof Error ? error.message : 'unknown failure' });
}
