/** Reads events as they are committed, and notes when each was here. */
import { follow } from '../../kafka/follow.ts';
import { silentLog } from '../streams/log.ts';
import type { Bench } from './bench.ts';
import { monotonicMs } from './machine.ts';
import { headerText } from '../../schemas/raw-record.ts';

export class OutputsReader {
  /** When the first event of each user was here (monotonicMs). */
  readonly seenAtMs = new Map<string, number>();
  /** Events of users of whom there had been one. */
  repeated = 0;
  #error: Error | undefined;
  #reading: { close(): Promise<void> } | undefined;

  /** Starts to read topics from their beginning, or what they get from now on. */
  static async start(
    bench: Bench,
    topics: readonly string[],
    from: 'beginning' | 'end' = 'beginning',
  ): Promise<OutputsReader> {
    const reader = new OutputsReader();
    const bounds = await Promise.all(
      topics.map(async (topic) =>
        (await bench.admin.fetchTopicOffsets(topic)).map(({ partition, low, high }) => ({
          topic,
          partition,
          offset: BigInt(from === 'beginning' ? low : high),
        })),
      ),
    );
    reader.#reading = follow(
      { brokers: bench.brokers.split(',') },
      {
        clientId: 'bench-outputs',
        log: silentLog,
        from: bounds.flat(),
        maxWaitMs: 500,
        onFetched({ records }) {
          const atMs = monotonicMs();
          for (const { headers } of records) reader.#note(headerText(headers, 'user_id'), atMs);
        },
        onError: (error) => (reader.#error ??= error),
      },
    );
    return reader;
  }

  /** @throws what has gone wrong while it read. */
  async stop(): Promise<void> {
    await this.#reading?.close();
    if (this.#error !== undefined) throw this.#error;
  }

  #note(user: string | undefined, atMs: number): void {
    if (user === undefined) return;
    if (this.seenAtMs.has(user)) this.repeated += 1;
    else this.seenAtMs.set(user, atMs);
  }
}
