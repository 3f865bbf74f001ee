/** `bridge ingress` as its operators run it. */
import { freePort } from '../bridge/harness.ts';
import type { Bench } from './bench.ts';
import type { Started } from './processes.ts';

export const webhookSecret = 'a secret of the bench that is long enough';

export interface RunningIngress {
  readonly started: Started;
  readonly port: number;
}

/** Starts one worker on the topics of `prefix`; resolves when it is ready. */
export async function startIngress(
  bench: Bench,
  prefix: string,
  partitions: number,
): Promise<RunningIngress> {
  const port = await freePort();
  const launch = bench.bridge('ingress', {
    KAFKA_BOOTSTRAP_SERVERS: bench.brokers,
    TOPIC_PREFIX: prefix,
    TOPIC_PARTITIONS: String(partitions),
    TOPIC_REPLICATION_FACTOR: '1',
    HOST: '127.0.0.1',
    PORT: String(port),
    OURA_WEBHOOK_SECRET: webhookSecret,
    WHOOP_WEBHOOK_SECRET: webhookSecret,
    TERRA_WEBHOOK_SECRET: webhookSecret,
    APPLE_HEALTHKIT_SECRET: webhookSecret,
  });
  const started = bench.processes.start('ingress', launch);
  await bench.until('the ingress to be ready', async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    return answer?.status === 200 || undefined;
  });
  return { started, port };
}
