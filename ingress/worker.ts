import cluster from 'node:cluster';
import type { IngressConfig } from './config.ts';
import { startIngress, type Group } from './main.ts';
import type { GroupStatus, Status } from './status.ts';
import { within } from '../process/deadline.ts';
import type { Logger } from '../process/log.ts';
import type { Running } from '../process/run.ts';

/** What a worker hears from the process that started it. */
export type ToWorker =
  | { readonly type: 'ask' }
  | { readonly type: 'hangup' }
  | { readonly type: 'group'; readonly number: number; readonly group: GroupStatus };

/** What it tells. */
export type FromWorker =
  { readonly type: 'status'; readonly status: Status } | { readonly type: 'ask'; readonly number: number };

/** The process that started this one answers within this, also when another worker does not. */
const groupMs = 3_000;

/** Runs one of several processes that share the port; started by startWorkers. */
export async function startWorker(config: IngressConfig, log: Logger): Promise<Running> {
  const waiting = new Map<number, (group: GroupStatus) => void>();
  let asked = 0;
  const group: Group = {
    status() {
      asked += 1;
      const number = asked;
      const answered = new Promise<GroupStatus>((resolve) => waiting.set(number, resolve));
      tell({ type: 'ask', number });
      return within(answered, groupMs, 'asking the group').finally(() => waiting.delete(number));
    },
  };
  // What hangs up a terminal would end the process that has no listener; whoever rereads something adds another.
  process.on('SIGHUP', ignored);
  const ingress = await startIngress(config, log, group);
  const tellStatus = async (): Promise<void> => tell({ type: 'status', status: await ingress.status() });
  const onMessage = (message: ToWorker): void => {
    if (message.type === 'ask') void tellStatus();
    else if (message.type === 'group') waiting.get(message.number)?.(message.group);
    else process.emit('SIGHUP');
  };
  process.on('message', onMessage);
  return {
    failed: ingress.failed ?? new Promise<never>(ignored),
    async stop() {
      await ingress.stop();
      // The last counts, so that the sums of the group do not run backwards.
      await tellStatus();
      process.off('message', onMessage);
      process.off('SIGHUP', ignored);
      // The channel to the primary would hold the process.
      cluster.worker?.disconnect();
    },
  };
}

function tell(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}

function ignored(): void {
  // Nothing to do.
}
