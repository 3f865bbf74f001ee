/** Reading partitions on and on, without a consumer group. */
import type { KafkaConnection, KafkaLog } from './client.ts';
import { Fetcher, type Fetched, type FetchPosition } from './fetch.ts';
import { partitionName } from './topic-partition.ts';

interface FollowOptions {
  readonly clientId: string;
  readonly log: KafkaLog;
  /** Where to begin in each partition. */
  readonly from: readonly FetchPosition[];
  /** Default 200. */
  readonly maxWaitMs?: number;
  /** Each answer of a partition, also those that only move its position. */
  onFetched(fetched: Fetched): void;
  /** What onFetched has thrown, a position that the log does not have, or what the brokers refuse. */
  onError(error: Error): void;
}

const maxBytes = 8 * 1024 * 1024;
const partitionMaxBytes = 1024 * 1024;
const closeTimeoutMs = 5_000;

/** Reads what is committed in partitions, and what is going to be, through moved leaders and outages until `close()`. */
export function follow(
  connection: KafkaConnection,
  { clientId, log, from, maxWaitMs = 200, onFetched, onError }: FollowOptions,
): { close(): Promise<void> } {
  const positions = new Map(from.map((position) => [partitionName(position), position]));
  const options = { clientId, log, maxWaitMs, maxBytes, partitionMaxBytes };
  const fetcher = new Fetcher(connection, options, {
    positions: () => ({ positions: [...positions.values()] }),
    onFetched(fetched) {
      const { topic, partition, fetchOffset, nextOffset } = fetched;
      const name = partitionName(fetched);
      // While a leader moves, two of them may be asked for the same.
      if (positions.get(name)?.offset !== fetchOffset) return;
      positions.set(name, { topic, partition, offset: nextOffset });
      onFetched(fetched);
    },
    onOutOfRange(position) {
      positions.delete(partitionName(position));
      onError(
        new Error(
          `${partitionName(position)} has no offset ${position.offset}: its log begins later or ends before`,
        ),
      );
    },
    onError,
  });
  fetcher.wake();
  return { close: () => fetcher.close(closeTimeoutMs) };
}
