import type { Admin } from '../kafka/client.ts';
import type { Progress } from '../kafka/progress.ts';
import type { StreamsLog } from './config.ts';
import { StreamsError } from './errors.ts';
import { logBounds } from './offsets.ts';
import type { MayReset } from './punctuator.ts';
import { partitionName, type TopicPartition } from './record.ts';
import type { TaskSet } from './task-set.ts';

/**
 * Partitions whose log does not have the position any more, because retention has passed it or the topic was created
 * anew: logs an error and continues at the beginning of the log. They are not fetched until then.
 */
export class PositionResets {
  readonly #requested = new Map<string, TopicPartition>();
  readonly #tasks: TaskSet;
  readonly #progress: Progress;

  constructor(tasks: TaskSet, progress: Progress) {
    this.#tasks = tasks;
    this.#progress = progress;
  }

  /** Requests a reset. */
  add({ topic, partition }: TopicPartition): void {
    this.#requested.set(partitionName({ topic, partition }), { topic, partition });
  }

  /** Whether a partition waits for its reset. */
  has({ topic, partition }: TopicPartition): boolean {
    return this.#requested.size > 0 && this.#requested.has(partitionName({ topic, partition }));
  }

  clear(): void {
    this.#requested.clear();
  }

  /** Partitions that can be reset: those with nothing queued, because the log may no longer hold what is queued. */
  get ready(): TopicPartition[] {
    return [...this.#requested.values()].filter(
      ({ topic, partition }) => this.#tasks.get(partition)?.isDrained(topic) ?? true,
    );
  }

  /**
   * Resets the positions that are ready, unless `isCurrent` turns false meanwhile.
   * @throws StreamsError START_AGAIN for one that may not be.
   */
  async run(
    admin: Admin,
    options: { isCurrent: () => boolean; mayReset: MayReset; log: StreamsLog },
  ): Promise<void> {
    const { isCurrent, mayReset, log } = options;
    for (const { topic, partition } of this.ready) {
      const task = this.#tasks.get(partition);
      // Read the position before the bounds: the log only grows, so a position behind an end that was read later
      // proves that the log was cut.
      const next = task?.nextOffset(topic);
      const { low, high } = await logBounds(admin, topic, partition);
      if (!isCurrent()) return;
      this.#requested.delete(partitionName({ topic, partition }));
      // A leader that has only just been elected may have refused a position that the log has.
      if (task === undefined || next === undefined || (next >= low && next <= high)) continue;
      if (!mayReset({ topic, partition, offset: next }))
        throw new StreamsError(
          'START_AGAIN',
          `${partitionName({ topic, partition })} has no offset ${next} any more, its log begins at ${low}: what was computed ` +
            'so far lacks records',
        );
      const gone = next < low ? Number(low - next) : 0;
      const bounds = { position: next.toString(), logStart: low.toString(), logEnd: high.toString() };
      log.error(
        { topic, partition, ...bounds, gone },
        next < low
          ? 'records were deleted before they were processed: continuing at the beginning of the log'
          : 'the log ends before the position, it was truncated or created anew: continuing at its beginning',
      );
      task.jump(topic, low);
      // What is gone waits for nobody; the group learns of the position with the next commit.
      this.#progress.committed(topic, partition, low);
    }
  }
}
