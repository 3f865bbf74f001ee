/** Handling what was fetched of a partition, in parts whose offsets are committed one after the other. */
import type { Fetched } from './fetch.ts';
import type { LogRecord } from './record-batch.ts';

/** A part of what was fetched of a partition: at most 1,000 records and 8 MiB, or one record. */
export interface Chunk {
  readonly topic: string;
  readonly partition: number;
  /** One with a `fault` stands for a batch that cannot be decoded. */
  readonly records: readonly LogRecord[];
}

/** Handles a chunk completely before it resolves; resolves to false when the reader stops before that. */
export type HandleChunk = (chunk: Chunk) => Promise<boolean>;

/**
 * Handles what was fetched chunk by chunk, each in this order: 1 handle it, 2 commit the offset behind it.
 * @returns whether all of it was handled; false when the partition is no longer ours, or the reader stops.
 */
export async function handleFetched(
  { topic, partition, records, nextOffset }: Fetched,
  steps: {
    readonly handle: HandleChunk;
    readonly isCurrent: () => boolean;
    readonly commit: (offset: bigint) => Promise<boolean>;
  },
): Promise<boolean> {
  const all = chunks(records);
  for (const [index, chunk] of all.entries()) {
    if (!steps.isCurrent()) return false;
    if (!(await steps.handle({ topic, partition, records: chunk }))) return false;
    if (!steps.isCurrent()) return false;
    // Markers and aborted records may follow the last record.
    const offset = index === all.length - 1 ? nextOffset : (chunk.at(-1)?.offset ?? nextOffset) + 1n;
    if (!(await steps.commit(offset))) return false;
  }
  // Nothing but markers and aborted records.
  if (all.length === 0) return steps.isCurrent() && steps.commit(nextOffset);
  return true;
}

const chunkRecords = 1_000;
const chunkBytes = 8 * 1024 * 1024;

function chunks(records: readonly LogRecord[]): LogRecord[][] {
  const all: LogRecord[][] = [];
  let current: LogRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const size = record.value?.length ?? 0;
    if (current.length > 0 && (current.length === chunkRecords || bytes + size > chunkBytes)) {
      all.push(current);
      current = [];
      bytes = 0;
    }
    current.push(record);
    bytes += size;
  }
  if (current.length > 0) all.push(current);
  return all;
}
