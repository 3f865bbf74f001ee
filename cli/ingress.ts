import cluster from 'node:cluster';
import type { Command } from './command.ts';
import { readIngressConfig } from '../ingress/config.ts';
import { vendors } from '../vendors/index.ts';
import { startIngress } from '../ingress/main.ts';
import { startWorker } from '../ingress/worker.ts';
import { startWorkers } from '../ingress/workers.ts';
import { withLocalEnv } from '../local/env.ts';
import { createLog } from '../process/log.ts';
import { runUntilSignal } from '../process/run.ts';
import { UsageError } from './command.ts';

export const ingress: Command = {
  summary: 'take webhooks, verify them and append them to the raw topics',
  usage: `
Usage: bridge ingress

Serves the webhooks of the vendors until SIGTERM or SIGINT, then answers /readyz with 503, goes on for DRAIN_GRACE_MS
(2,000) at most, finishes what is in hand and exits with 0. WORKERS (1) processes share the port.
Everything is set by environment variables: PORT (8889), HOST (0.0.0.0), KAFKA_BOOTSTRAP_SERVERS, the secrets
${Object.values(vendors)
  .map(({ webhook }) => webhook.secret)
  .join(', ')} and more: \`bridge config\`
lists them. In a clone, what .local/env holds of the local stack is used where the environment says nothing.
`,
  async run(args) {
    if (args.length > 0) throw new UsageError('it takes no arguments');
    const config = readIngressConfig(withLocalEnv(process.env));
    const log = createLog({ name: config.SERVICE_NAME, level: config.LOG_LEVEL });
    return runUntilSignal(log, () => {
      if (cluster.isWorker) return startWorker(config, log);
      return config.WORKERS > 1 ? startWorkers(config, log) : startIngress(config, log);
    });
  },
};
