import cluster from 'node:cluster';
import { within } from '../process/deadline.ts';
import { startService, type Running } from '../process/lifecycle.ts';
import type { Logger } from '../process/log.ts';
import type { IngressConfig } from './config.ts';
import { startIngress, type Group, type GroupStatus, type Status } from './main.ts';

/** What the primary sends to a worker. */
export type ToWorker =
  | { readonly type: 'ask' }
  | { readonly type: 'hangup' }
  | { readonly type: 'group'; readonly number: number; readonly group: GroupStatus };

/** What a worker sends to the primary. */
export type FromWorker =
  { readonly type: 'status'; readonly status: Status } | { readonly type: 'ask'; readonly number: number };

/** The primary answers within this time, even when another worker does not. */
const groupMs = 3_000;

/** Runs one of several processes that share the port; startWorkers starts it. */
export function startWorker(config: IngressConfig, log: Logger): Promise<Running> {
  return startService(async (service) => {
    const questions = new Map<number, (group: GroupStatus) => void>();
    let asked = 0;
    const group: Group = {
      status() {
        asked += 1;
        const number = asked;
        const answered = new Promise<GroupStatus>((resolve) => questions.set(number, resolve));
        send({ type: 'ask', number });
        return within(answered, groupMs, 'asking the group').finally(() => questions.delete(number));
      },
    };
    const ingress = await startIngress(config, log, group);
    ingress.failed.catch(service.fail);
    const sendStatus = async (): Promise<void> => send({ type: 'status', status: await ingress.status() });
    const onMessage = (message: ToWorker): void => {
      if (message.type === 'ask') void sendStatus();
      else if (message.type === 'group') questions.get(message.number)?.(message.group);
      else process.emit('SIGHUP');
    };
    process.on('message', onMessage);
    // The ingress bounds its own stop.
    service.onStop(async () => {
      try {
        await ingress.stop();
      } finally {
        // Send the final counts, so that the sums of the group do not run backwards.
        await sendStatus();
        process.off('message', onMessage);
        // The channel to the primary would keep the process alive.
        cluster.worker?.disconnect();
      }
    }, config.DRAIN_GRACE_MS + 60_000);
    return {};
  });
}

function send(message: FromWorker): void {
  if (process.connected) process.send?.(message);
}
