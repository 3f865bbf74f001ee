import type { GroupConsumer } from './group.ts';
import type { Admin } from '../kafka/client.ts';
import type { StreamsLog } from './config.ts';
import { logBounds } from './offsets.ts';
import { partitionName, type TopicPartition } from './record.ts';
import type { TaskSet } from './task-set.ts';

/**
 * Partitions whose fetches do not continue where processing stands. Mostly a seek has overtaken the fetch: seek again.
 * But when the log itself no longer holds our position, because retention has passed it or the topic was made anew,
 * going back to it would go on for ever: then what is there is read, and said aloud.
 */
export class Gaps {
  readonly #gaps = new Map<string, TopicPartition>();
  readonly #tasks: TaskSet;

  constructor(tasks: TaskSet) {
    this.#tasks = tasks;
  }

  add({ topic, partition }: TopicPartition): void {
    this.#gaps.set(partitionName(topic, partition), { topic, partition });
  }

  clear(): void {
    this.#gaps.clear();
  }

  /** Those that can be closed: what was fetched before a gap is processed first, it may be gone from the log by now. */
  get open(): TopicPartition[] {
    return [...this.#gaps.values()].filter(
      ({ topic, partition }) => this.#tasks.get(partition)?.isDrained(topic) ?? true,
    );
  }

  /** Closes what is open, unless `isCurrent` turns false meanwhile. */
  async close(
    admin: Admin,
    group: GroupConsumer,
    options: { isCurrent: () => boolean; log: StreamsLog; thread: string },
  ): Promise<void> {
    const { isCurrent, log, thread } = options;
    for (const { topic, partition } of this.open) {
      const task = this.#tasks.get(partition);
      // The position is read before the bounds: the log only grows, so it can lie beyond the end asked for after it
      // only when the log was cut. The other way round every busy partition would look as if it had been.
      const next = task?.nextOffset(topic);
      const { low, high } = await logBounds(admin, topic, partition);
      if (!isCurrent()) return;
      this.#gaps.delete(partitionName(topic, partition));
      // It has gone on meanwhile: there is no gap any more.
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
          ? 'records were deleted before they were processed: going on where the log begins'
          : 'the log ends before our position, it was truncated or made anew: reading from its beginning',
      );
      task.jump(topic, low);
      group.seek({ topic, partition }, low);
    }
  }
}
