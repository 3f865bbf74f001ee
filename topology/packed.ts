import { createHash } from 'node:crypto';
import { StreamsError, type Serde } from './streams/index.ts';

/** Milliseconds of a day. */
export const dayMs = 86_400_000;

/** How long every store remembers what was last touched, by the `received_at` of the record that looks it up. */
export const rememberedMs = 35 * dayMs;

/**
 * When an entry that nobody asks for may go by the wall clock. A raw record is read at most 35 days late: its topic keeps
 * it for 28 days, and retention takes whole segments only, which may be open for a week. So nothing is swept that a
 * record to come could still find, be it the record of a replay.
 */
export const sweptAfterMs = rememberedMs + (28 + 7) * dayMs;

/** The key of an entry: whose it is (a user id means something only together with its device), then which part. */
export interface UserKey {
  readonly device: string;
  readonly user: string;
  /** As many bytes as the store's keys have. */
  readonly part: Buffer;
}

/** Keys as `device NUL user NUL part`, so that everything of one user begins with the same bytes. */
export function userKey(partBytes: number): Serde<UserKey> {
  return {
    serialize: ({ device, user, part }) => Buffer.concat([Buffer.from(`${device}\0${user}\0`, 'utf8'), part]),
    deserialize: (bytes) => {
      const deviceEnd = bytes?.indexOf(0) ?? -1;
      const userEnd = (bytes?.length ?? 0) - partBytes - 1;
      if (bytes === null || deviceEnd < 0 || userEnd <= deviceEnd)
        throw new StreamsError('INVARIANT', 'a store key does not name device, user and part');
      return {
        device: bytes.toString('utf8', 0, deviceEnd),
        user: bytes.toString('utf8', deviceEnd + 1, userEnd),
        part: bytes.subarray(userEnd + 1),
      };
    },
  };
}

/**
 * Rows of equal length, one after the other, behind one byte that tells the version of their layout.
 * @throws StreamsError INVARIANT for another layout: taken for a bad record, it would dead-letter every record to come.
 */
export function packedRows(version: number, rowBytes: number): Serde<readonly Buffer[]> {
  return {
    serialize: (rows) => Buffer.concat([Buffer.of(version), ...rows]),
    deserialize: (bytes) => {
      if (bytes?.[0] !== version || (bytes.length - 1) % rowBytes !== 0)
        throw new StreamsError(
          'INVARIANT',
          `a store holds a value of layout ${bytes?.[0] ?? 'none'}, and this build reads layout ${version} only: ` +
            'run the build that wrote it',
        );
      return Array.from({ length: (bytes.length - 1) / rowBytes }, (_, row) =>
        bytes.subarray(1 + row * rowBytes, 1 + (row + 1) * rowBytes),
      );
    },
  };
}

/** Bytes of a short hash. */
export const hashBytes = 8;

/** The first 8 bytes of a text's SHA-256: enough to tell the resources of one user apart. */
export function shortHash(text: string): Buffer {
  return createHash('sha256').update(text).digest().subarray(0, hashBytes);
}

/** Bytes of an instant. */
export const instantBytes = 6;
/** The latest instant, or revision, that a store can hold: in the year 10889. */
export const maxInstant = 2 ** 48 - 1;

/** Writes an instant, epoch ms, of 0 to `maxInstant`. */
export function writeInstant(row: Buffer, epochMs: number, at: number): void {
  row.writeUIntBE(Math.min(Math.max(0, epochMs), maxInstant), at, instantBytes);
}

export function readInstant(row: Buffer, at: number): number {
  return row.readUIntBE(at, instantBytes);
}

/** Whether what was touched at the instant in `row` is still remembered when a record of `receivedAt` asks for it. */
export function isRemembered(row: Buffer, at: number, receivedAt: number): boolean {
  return Math.min(receivedAt, maxInstant) - readInstant(row, at) <= rememberedMs;
}

/** The 16 bytes of a UUID. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex');
}

/** The text of a UUID of 16 bytes. */
export function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}
