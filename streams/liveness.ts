import { Progress, type Stall } from '../kafka/progress.ts';

/** What a stream thread tells of itself when it is asked for what stands still. */
interface Circumstances {
  /** Whether brokers answer: an outage is no reason to restart. */
  readonly isReachable: boolean;
  /** Milliseconds without an assignment. */
  readonly unassignedMs: number;
  /** Whether a task is being restored, and the partitions that have no task ready, or whose next record has to wait. */
  readonly isRestoring: boolean;
  readonly isWaiting: (topic: string, partition: number) => boolean;
  /** For how long a task has been at work besides its records without a step. */
  readonly punctuatedMs: number;
  /** The partitions, of sources and changelogs, that brokers have answered for with errors only. */
  readonly fetches: readonly Stall[];
}

/** Tells what stands still in a stream thread: its loop, a restore, its membership, or a partition with records. */
export class Liveness {
  readonly progress = new Progress();
  #steppedAt = performance.now();
  #restoredAt = performance.now();

  /** The loop made a step. */
  step(): void {
    this.#steppedAt = performance.now();
  }

  /** A restore has begun or read something. */
  restored(): void {
    this.#restoredAt = performance.now();
  }

  /** What has stood still for longer than `limitMs`. */
  stalls(limitMs: number, circumstances: Circumstances): Stall[] {
    const { isReachable, unassignedMs, isRestoring, isWaiting, punctuatedMs, fetches } = circumstances;
    const now = performance.now();
    if (!isReachable) {
      this.progress.excuse();
      this.restored();
    }
    this.progress.excuse(isWaiting);
    const process: Stall[] = [
      { reason: 'the stream thread makes no step', stalledMs: now - this.#steppedAt },
      { reason: 'a restore makes no progress', stalledMs: isRestoring ? now - this.#restoredAt : 0 },
      {
        reason: 'a task makes no step of a seed, a takeover or corrections',
        stalledMs: isReachable ? punctuatedMs : 0,
      },
      { reason: 'the group gives no assignment', stalledMs: isReachable ? unassignedMs : 0 },
    ];
    const standing = process.filter(({ stalledMs }) => stalledMs > limitMs);
    return [...standing, ...fetches, ...this.progress.stalls(limitMs)];
  }
}
