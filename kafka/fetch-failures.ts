/** The partitions that brokers answer for with errors: when to ask for them again, and what the probe reports. */
import type { Stall } from './progress.ts';
import { partitionName, type TopicPartition } from './topic-partition.ts';

/** Pause before a partition is asked for again, doubled with each failure up to the longest. */
const pauseMs = 100;
const maxPauseMs = 1_000;

/** One partition, from its first failure to its next answer without an error. */
interface Failure extends TopicPartition {
  /** Kafka's name of the last error. */
  reason: string;
  /** Since when the clock of stalls() runs. */
  since: number;
  tries: number;
  retryAt: number;
}

/**
 * Counts what brokers answer. A broker that does not answer at all, or a partition without a leader, is an outage: it
 * delays the next try too, but restarting the reader does not end it, so it counts for no stall.
 */
export class FetchFailures {
  readonly #failures = new Map<string, Failure>();

  /** A broker, or the cluster's metadata, has answered with an error. */
  failed({ topic, partition }: TopicPartition, reason: string, isOutage = false): void {
    const name = partitionName({ topic, partition });
    const now = performance.now();
    const known = this.#failures.get(name);
    const tries = (known?.tries ?? 0) + 1;
    this.#failures.set(name, {
      topic,
      partition,
      reason,
      since: isOutage ? Infinity : Math.min(known?.since ?? now, now),
      tries,
      retryAt: now + Math.min(pauseMs * 2 ** (tries - 1), maxPauseMs),
    });
  }

  /** Forgets the partition: it was answered for without an error, or nobody answers at all. */
  over(partition: TopicPartition): void {
    if (this.#failures.size > 0) this.#failures.delete(partitionName(partition));
  }

  /** Milliseconds until the partition may be asked for; 0 when that is now. */
  pauseMs(partition: TopicPartition): number {
    if (this.#failures.size === 0) return 0;
    const failure = this.#failures.get(partitionName(partition));
    return failure === undefined ? 0 : Math.max(0, failure.retryAt - performance.now());
  }

  /** Forgets the partitions that the reader does not want any more. */
  retain(isWanted: (partition: TopicPartition) => boolean): void {
    for (const [name, failure] of this.#failures) if (!isWanted(failure)) this.#failures.delete(name);
  }

  /** Starts the clocks anew: an outage, or what else holds the reader up, is no fault of the partitions. */
  excuse(): void {
    for (const failure of this.#failures.values())
      if (failure.since !== Infinity) failure.since = performance.now();
  }

  /** The partitions that have had nothing but errors for longer than `limitMs`, the worst first. */
  stalls(limitMs: number): Stall[] {
    const now = performance.now();
    return [...this.#failures.values()]
      .map(({ topic, partition, reason, since }) => ({
        topic,
        partition,
        reason: `fetches are answered with ${reason}`,
        stalledMs: now - since,
      }))
      .filter(({ stalledMs }) => stalledMs > limitMs)
      .sort((a, b) => b.stalledMs - a.stalledMs);
  }
}
