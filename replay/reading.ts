/** Reading single records and ranges for a command, which a signal may end. */
import type { LogRange, LogScanner } from '../kafka/scan.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import type { TopicPartition } from '../kafka/topic-partition.ts';
import type { Deployment } from './deployment.ts';
import type { Progress } from './progress.ts';

/** The place of a record. */
export interface Position extends TopicPartition {
  readonly offset: bigint;
}

/** A place as texts and headers name it: `topic:partition:offset`. No topic's name holds a colon. */
export function positionName({ topic, partition, offset }: Position): string {
  return `${topic}:${partition}:${offset}`;
}

/** Undefined when the text names no place. */
export function parsePosition(text: string): Position | undefined {
  const [, topic, partition, offset] = /^([a-zA-Z0-9._-]+):(\d{1,9}):(\d{1,18})$/.exec(text) ?? [];
  if (topic === undefined || partition === undefined || offset === undefined) return undefined;
  return { topic, partition: Number(partition), offset: BigInt(offset) };
}

/** The caller that waits for a reading. */
export interface Watch {
  /** Aborted with an Interrupted. */
  readonly signal: AbortSignal;
  readonly progress: Progress;
}

/**
 * Reads a range, batch by batch.
 * @throws the reason of the signal once it is aborted; LogMovedError, or what the brokers refuse.
 */
export async function* recordsOf(
  scanner: LogScanner,
  range: LogRange,
  { signal, progress }: Watch,
): AsyncGenerator<readonly LogRecord[]> {
  signal.throwIfAborted();
  if (range.offset >= range.end) return;
  progress.expect(Number(range.end - range.offset));
  const scan = scanner.scan(range);
  const close = (): void => scan.close();
  signal.addEventListener('abort', close);
  let at = range.offset;
  try {
    for (;;) {
      const records = await scan.next();
      signal.throwIfAborted();
      const next = records === undefined ? range.end : (records.at(-1)?.offset ?? at) + 1n;
      progress.add(Number(next - at));
      at = next;
      if (records === undefined) return;
      yield records;
    }
  } finally {
    signal.removeEventListener('abort', close);
    scan.close();
  }
}

/** The record at a place; undefined when its topic does not have it, or no longer has it. */
export async function readRecord(
  deployment: Pick<Deployment, 'scanner' | 'range' | 'partitions'>,
  { topic, partition, offset }: Position,
  watch: Watch,
): Promise<LogRecord | undefined> {
  if (partition >= deployment.partitions) return undefined;
  const range = await deployment.range(topic, partition);
  if (offset < range.offset || offset >= range.end) return undefined;
  for await (const records of recordsOf(deployment.scanner, { ...range, offset, end: offset + 1n }, watch))
    return records[0];
  return undefined;
}
