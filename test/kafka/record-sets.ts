/** Record sets as a fetch brings them, and what becomes of them. */
import { decodeRecordSet, type DecodedRecordSet, type RecordSet } from '../../kafka/record-batch.ts';
import { crc32c } from '../../kafka/crc32c.ts';
import { encodeBatch, type BatchRecord, type RecordBatch } from '../patches/record-batch.ts';

/** Decodes batches as one answer of a fetch that asked for offset 0. */
export function decode(
  bytes: Buffer | readonly Buffer[],
  options: Partial<RecordSet> = {},
): DecodedRecordSet {
  const all = Buffer.isBuffer(bytes) ? bytes : Buffer.concat(bytes);
  return decodeRecordSet({
    topic: 'topic',
    partition: 3,
    fetchOffset: 0n,
    bytes: all,
    abortedTransactions: [],
    ...options,
  });
}

/** A batch of records with these values, one an offset. */
export function batch(firstOffset: bigint, values: string, more: Partial<RecordBatch> = {}): Promise<Buffer> {
  const records = values
    .split('')
    .map((value, offsetDelta): BatchRecord => ({ offsetDelta, timestampDelta: 0n, value }));
  return encodeBatch({ firstOffset, firstTimestamp: 1_000n, records, ...more });
}

/** The marker that ends a transaction. */
export function marker(firstOffset: bigint, producerId: bigint, kind: 'abort' | 'commit'): Promise<Buffer> {
  const key = Buffer.from([0, 0, 0, kind === 'abort' ? 0 : 1]);
  const records = [{ offsetDelta: 0, timestampDelta: 0n, key, value: Buffer.alloc(6) }];
  return encodeBatch({
    firstOffset,
    firstTimestamp: 0n,
    records,
    producerId,
    transactional: true,
    attributes: 32,
  });
}

/** Values by offset, and where to go on. */
export function summary({ records, nextOffset }: Omit<DecodedRecordSet, 'decompressed'>): {
  records: string[];
  nextOffset: bigint;
} {
  return {
    records: records.map(({ offset, value, fault }) => `${offset} ${fault?.code ?? String(value)}`),
    nextOffset,
  };
}

/** Corrects the checksum of a batch that was changed. */
export function seal(changed: Buffer): Buffer {
  changed.writeUInt32BE(crc32c(changed.subarray(21)), 17);
  return changed;
}

/** A copy of a batch with a change to its bytes, and the checksum as it was. */
export function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
}
