import type { Consumer } from '../kafka/client.ts';

/** Which partitions the consumer holds, and whether it still holds one since a certain moment. */
export interface Membership {
  /** Whether the consumer has joined its group and not lost it since. */
  isJoined(): boolean;
  /** Epoch ms of the last sign of life of the client: a fetch, a heartbeat, a join, or a crash it recovers from. */
  lastSignMs(): number;
  /**
   * A claim on a partition that ends with the next rebalance; undefined when the partition is not ours.
   * kafkajs hands batches over that were fetched before a rejoin, and lets old and new ones touch its offsets: the
   * holder asks `isCurrent` before it resolves or commits, with no await in between.
   */
  claim(topic: string, partition: number): { isCurrent(): boolean } | undefined;
}

/** Follows the consumer's events from now on: call it before the consumer runs. */
export function followMembership(consumer: Consumer): Membership {
  let generation = 0;
  let assignment: Readonly<Record<string, readonly number[]>> | undefined;
  let lastSignMs = Date.now();
  const lose = (): void => {
    generation += 1;
    assignment = undefined;
  };
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    generation += 1;
    assignment = payload.memberAssignment;
  });
  for (const event of ['REBALANCING', 'CRASH', 'STOP', 'DISCONNECT'] as const) {
    consumer.on(consumer.events[event], lose);
  }
  for (const event of ['FETCH_START', 'HEARTBEAT', 'GROUP_JOIN', 'CRASH'] as const) {
    consumer.on(consumer.events[event], () => {
      lastSignMs = Date.now();
    });
  }
  return {
    lastSignMs: () => lastSignMs,
    isJoined: () => assignment !== undefined,
    claim(topic, partition) {
      if (assignment?.[topic]?.includes(partition) !== true) return undefined;
      const claimed = generation;
      return { isCurrent: () => generation === claimed };
    },
  };
}
