import cluster from 'node:cluster';
import { ingressVariables } from '../ingress/config.ts';
import { startIngress } from '../ingress/main.ts';
import { startWorker } from '../ingress/worker.ts';
import { startWorkers } from '../ingress/workers.ts';
import { runUntilSignal } from '../process/run.ts';
import type { Command } from './command.ts';
import { configured, logOf } from './environment.ts';

/** `bridge ingress`. */
export function define(command: Command): void {
  const variables = ingressVariables(process.env);
  command
    .description(
      `Serve the webhooks of the vendors until SIGTERM or SIGINT. Then answer /readyz with 503, keep serving for at most DRAIN_GRACE_MS, finish the open requests and exit with 0.`,
    )
    .environment(variables)
    .does(() => {
      const config = configured(variables);
      const log = logOf('ingress', config);
      return runUntilSignal(log, () => {
        if (cluster.isWorker) return startWorker(config, log);
        return config.WORKERS > 1 ? startWorkers(config, log) : startIngress(config, log);
      });
    });
}
