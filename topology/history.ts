/** Reading what the generation before has written: its changelogs, the shadow, and what readers have. */
import type { Admin } from '../kafka/client.ts';
import type { LogRange, LogScanner } from '../kafka/scan.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import { dayMs } from '../vendors/instant.ts';
import type { Entry } from './promotion.ts';
import type { Start } from './seed.ts';

/** Raw records younger than this are recomputed: a day less than their topics keep them. */
const recomputedMs = 27 * dayMs;

/**
 * Where a recomputation starts in each partition of a raw topic: at the first record younger than 27 days. Where the log
 * begins later than that, what came before was received before the first record that it has.
 */
export async function startsIn(
  reader: HistoryReader,
  topic: string,
  { partitions, nowMs = Date.now() }: { readonly partitions: number; readonly nowMs?: number },
): Promise<readonly Start[]> {
  const youngMs = nowMs - recomputedMs;
  const [bounds, firsts] = await Promise.all([
    reader.admin.fetchTopicOffsets(topic, { isolationLevel: 0 }),
    reader.admin.fetchTopicOffsetsByTimestamp(topic, youngMs),
  ]);
  return Promise.all(
    Array.from({ length: partitions }, async (_, partition): Promise<Start> => {
      const bound = bounds.find((one) => one.partition === partition);
      const [low, end] = [BigInt(bound?.low ?? 0), BigInt(bound?.high ?? 0)];
      const first = BigInt(firsts.find((one) => one.partition === partition)?.offset ?? 0);
      const offset = first > low ? first : low;
      // At the beginning of a log that has lost nothing, nothing came before.
      if (offset === 0n) return { offset, epochMs: youngMs };
      const record = await firstOf(reader, { topic, partition, offset, end });
      return { offset, epochMs: Math.max(youngMs, record?.timestamp ?? nowMs) };
    }),
  );
}

/** The first record of a range; undefined when it has none. */
export async function firstOf({ scanner }: HistoryReader, range: LogRange): Promise<LogRecord | undefined> {
  const scan = scanner.scan(range);
  try {
    return (await scan.next())?.[0];
  } finally {
    scan.close();
  }
}

/** The offsets that a group has committed, by partition name; a partition without one is missing. */
export async function committedOffsets(
  admin: Admin,
  groupId: string,
  topics: readonly string[],
): Promise<ReadonlyMap<string, bigint>> {
  const answers = await admin.fetchOffsets({ groupId, topics: [...topics] });
  return new Map(
    answers.flatMap(({ topic, partitions }) =>
      partitions
        .filter(({ offset }) => Number(offset) >= 0)
        .map(({ partition, offset }) => [partitionName({ topic, partition }), BigInt(offset)] as const),
    ),
  );
}

/** Connections for reading, shared by the tasks of a process. */
export interface HistoryReader {
  readonly admin: Admin;
  readonly scanner: LogScanner;
}

/** What one partition of a topic holds now; a scan of it waits for transactions that are open. */
export async function rangeOf({ admin }: HistoryReader, topic: string, partition: number): Promise<LogRange> {
  const bounds = await admin.fetchTopicOffsets(topic, { isolationLevel: 0 });
  const bound = bounds.find((one) => one.partition === partition);
  if (bound === undefined) throw new Error(`${topic} has no partition ${partition}`);
  return { topic, partition, offset: BigInt(bound.low), end: BigInt(bound.high) };
}

/**
 * The entries that a changelog's partition comes to.
 * @throws Error for a batch that cannot be decoded.
 */
export async function changelogEntries(
  reader: HistoryReader,
  topic: string,
  partition: number,
): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  for await (const record of recordsOf(reader, await rangeOf(reader, topic, partition))) {
    const { key, value, timestamp } = record;
    if (key === null) continue;
    const name = key.toString('latin1');
    // Views of an answer would keep all of it in memory.
    if (value === null) entries.delete(name);
    else entries.set(name, { key: Buffer.from(key), value: Buffer.from(value), timestamp });
  }
  return entries;
}

/** The records of a range. @throws Error for a batch that cannot be decoded. */
export async function* recordsOf({ scanner }: HistoryReader, range: LogRange): AsyncGenerator<LogRecord> {
  const scan = scanner.scan(range);
  try {
    for (;;) {
      const records = await scan.next();
      if (records === undefined) return;
      for (const record of records) {
        if (record.fault !== undefined)
          throw new Error(
            `${range.topic}-${range.partition} offset ${record.offset}: ${record.fault.code}: ${record.fault.message}`,
          );
        yield record;
      }
    }
  } finally {
    scan.close();
  }
}
