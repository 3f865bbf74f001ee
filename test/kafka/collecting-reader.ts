import type { KafkaConnection } from '../../kafka/client.ts';
import { startReader, type Reader } from '../../kafka/consume.ts';
import { startService } from '../../process/lifecycle.ts';
import { capturedLog } from '../consumers/postgres/log.ts';
import type { Cluster } from '../streams/broker/cluster.ts';

/** A reader of one topic that only collects. */
export interface CollectingReader {
  readonly reader: Reader;
  /** Rejects with the reason when it cannot continue. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

/**
 * Starts a reader in the group `<prefix>reader`, which ends with the cluster's test at the latest.
 * @param handled - takes the values as text, in the order in which they are handled.
 */
export async function collectingReader(
  cluster: Cluster,
  options: {
    topic: string;
    partitions: number;
    handled: string[];
    connection?: KafkaConnection;
    log?: ReturnType<typeof capturedLog>['log'];
  },
): Promise<CollectingReader> {
  const { topic, partitions, handled, connection = cluster.connection, log = capturedLog().log } = options;
  const running = await startService(async (service) => {
    const reader = await startReader(
      connection,
      {
        groupId: `${cluster.prefix}reader`,
        topics: [topic],
        partitions,
        concurrency: 2,
        log,
        handle({ records }) {
          handled.push(...records.map(({ value }) => String(value)));
          return Promise.resolve(true);
        },
      },
      service,
    );
    return { reader };
  });
  cluster.after(() => running.stop());
  return { reader: running.reader, failed: running.failed, stop: () => running.stop() };
}
