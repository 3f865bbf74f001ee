/** Finds the partitions of a reader in which nothing moves although records wait, for the probe that restarts it. */

import { partitionName, type TopicPartition } from './topic-partition.ts';

/** Something that should move and does not. */
export interface Stall {
  /** The partition, unless the whole process stands still. */
  readonly topic?: string;
  readonly partition?: number;
  /** What does not move. */
  readonly reason: string;
  /** For how long. */
  readonly stalledMs: number;
}

/** What is known of one partition. */
interface State extends TopicPartition {
  /** The next offset to commit. */
  committed: bigint;
  /** The end of what can be read. */
  end: bigint;
  /** Since when records have been waiting without a commit; undefined when none wait. */
  since: number | undefined;
}

/** Follows the commits of the assigned partitions. Time spent in an outage or a restore counts for none of them. */
export class Progress {
  readonly #states = new Map<string, State>();

  /** Follows these partitions from now on. A partition that had the same position before goes on waiting. */
  assign(positions: readonly { topic: string; partition: number; committed: bigint }[]): void {
    const before = new Map(this.#states);
    this.#states.clear();
    for (const { topic, partition, committed } of positions) {
      const name = partitionName({ topic, partition });
      const known = before.get(name);
      const state = { topic, partition, committed, end: committed, since: undefined };
      this.#states.set(name, known?.committed === committed ? known : state);
    }
  }

  /** @param end - the last stable offset: what is behind it waits for somebody else's transaction. */
  fetched(topic: string, partition: number, end: bigint): void {
    const state = this.#states.get(partitionName({ topic, partition }));
    if (state === undefined) return;
    state.end = end;
    if (end <= state.committed) state.since = undefined;
    else state.since ??= performance.now();
  }

  /** @param offset - committed, or where reading goes on because the log does not have what is before it. */
  committed(topic: string, partition: number, offset: bigint): void {
    const state = this.#states.get(partitionName({ topic, partition }));
    if (state === undefined) return;
    state.committed = offset;
    state.since = state.end > offset ? performance.now() : undefined;
  }

  /**
   * Starts the clocks anew, of all partitions or of those that `isExcused` names: what holds them up is nothing that a
   * restart could mend.
   */
  excuse(isExcused: (topic: string, partition: number) => boolean = () => true): void {
    for (const state of this.#states.values())
      if (state.since !== undefined && isExcused(state.topic, state.partition))
        state.since = performance.now();
  }

  /** The partitions without a commit for longer than `limitMs`, the worst first. */
  stalls(limitMs: number): Stall[] {
    const now = performance.now();
    return [...this.#states.values()]
      .map(({ topic, partition, since }) => ({
        topic,
        partition,
        reason: 'records wait and nothing is committed',
        stalledMs: now - (since ?? now),
      }))
      .filter(({ stalledMs }) => stalledMs > limitMs)
      .sort((a, b) => b.stalledMs - a.stalledMs);
  }
}

/** The answer of a liveness probe. */
export function stallReport([worst, ...others]: readonly Stall[]): string {
  if (worst === undefined) return 'ok';
  const { topic, partition, reason, stalledMs } = worst;
  const place = topic === undefined ? '' : ` in ${topic}-${partition ?? ''}`;
  const more = others.length === 0 ? '' : `, and ${others.length} more`;
  return `${reason} for ${Math.round(stalledMs / 1_000)} s${place}${more}`;
}
