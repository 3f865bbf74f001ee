import type { GroupConsumer } from './group.ts';
import type { Admin } from '../kafka/client.ts';
import type { StreamsLog } from './config.ts';
import { logBounds } from './offsets.ts';
import { partitionName, type TopicPartition } from './record.ts';
import type { TaskSet } from './task-set.ts';

/**
 * Partitions whose fetch did not continue at the task's position. Mostly a seek has overtaken the fetch: seek again.
 * When the log no longer holds the position, because retention has passed it or the topic was created anew, seeking
 * would never end: log an error and continue at the beginning of the log.
 */
export class PositionResets {
  readonly #requested = new Map<string, TopicPartition>();
  readonly #tasks: TaskSet;

  constructor(tasks: TaskSet) {
    this.#tasks = tasks;
  }

  /** Requests a reset. */
  add({ topic, partition }: TopicPartition): void {
    this.#requested.set(partitionName(topic, partition), { topic, partition });
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

  /** Resets the positions that are ready, unless `isCurrent` turns false meanwhile. */
  async run(
    admin: Admin,
    group: GroupConsumer,
    options: { isCurrent: () => boolean; log: StreamsLog; thread: string },
  ): Promise<void> {
    const { isCurrent, log, thread } = options;
    for (const { topic, partition } of this.ready) {
      const task = this.#tasks.get(partition);
      // Read the position before the bounds: the log only grows, so a position behind an end that was read later
      // proves that the log was cut. In the other order every busy partition would look as if it had been.
      const next = task?.nextOffset(topic);
      const { low, high } = await logBounds(admin, topic, partition);
      if (!isCurrent()) return;
      this.#requested.delete(partitionName(topic, partition));
      // A fetch that continues has arrived meanwhile.
      if (task === undefined || next === undefined || task.nextOffset(topic) !== next) continue;
      if (next >= low && next <= high) {
        group.seek({ topic, partition }, next);
        continue;
      }
      const gone = next < low ? Number(low - next) : 0;
      const bounds = { position: next.toString(), logStart: low.toString(), logEnd: high.toString() };
      log.error(
        { thread, topic, partition, ...bounds, gone },
        next < low
          ? 'records were deleted before they were processed: continuing at the beginning of the log'
          : 'the log ends before the position, it was truncated or created anew: continuing at its beginning',
      );
      task.jump(topic, low);
      group.seek({ topic, partition }, low);
    }
  }
}
