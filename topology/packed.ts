import { sha256 } from './identity.ts';
import { dayMs } from '../vendors/instant.ts';
import { StreamsError, type Serde } from '../streams/index.ts';

/** How long every store remembers an entry after its last use, by the `received_at` of the record that looks it up. */
export const rememberedMs = 35 * dayMs;

/**
 * When an unused entry may be swept by the wall clock. A raw record is read at most 35 days late: its topic keeps it for
 * 28 days, and retention deletes only whole segments, which may be open for a week. So no entry is swept that a later
 * record, even in a replay, could still find.
 */
export const sweptAfterMs = rememberedMs + (28 + 7) * dayMs;

/** The key of an entry: its owner (a user id is unique only together with its vendor), then the part. */
export interface UserKey {
  readonly vendor: string;
  /** Holds no NUL: no normalizer accepts such an id. */
  readonly user: string;
  readonly part: Buffer;
}

/** Encodes keys as `vendor NUL user NUL part`, so that everything of one user begins with the same bytes. */
export const userKey: Serde<UserKey> = {
  serialize: ({ vendor, user, part }) => {
    const owner = `${vendor}\0${user}\0`;
    const ownerBytes = Buffer.byteLength(owner);
    const bytes = Buffer.allocUnsafe(ownerBytes + part.length);
    bytes.write(owner);
    part.copy(bytes, ownerBytes);
    return bytes;
  },
  deserialize: (bytes) => {
    const vendorEnd = bytes?.indexOf(0) ?? -1;
    const userEnd = vendorEnd < 0 ? -1 : (bytes?.indexOf(0, vendorEnd + 1) ?? -1);
    if (bytes === null || userEnd < 0)
      throw new StreamsError('INVARIANT', 'a store key does not name vendor, user and part');
    return {
      vendor: bytes.toString('utf8', 0, vendorEnd),
      user: bytes.toString('utf8', vendorEnd + 1, userEnd),
      part: bytes.subarray(userEnd + 1),
    };
  },
};

/** A layout of packed tables. */
export interface Layout {
  readonly version: number;
  readonly rowBytes: number;
  /** The layout that the previous build wrote, which is still read. */
  readonly before?: {
    readonly version: number;
    readonly rowBytes: number;
    /** Writes to `row`, at `to`, what the row of the old table at `at` says. */
    readonly upgrade: (old: Buffer, at: number, row: Buffer, to: number) => void;
  };
}

/**
 * A byte with the version of the layout, then rows of equal length; in one piece of memory, because a record concerns
 * about one of hundreds of rows. A table of the earlier layout is converted when it is read, and rewritten with the next
 * change.
 * @throws StreamsError INVARIANT for any other layout: treated as a bad record, it would dead-letter every later record.
 */
export function packedTable({ version, rowBytes, before }: Layout): Serde<Buffer> {
  return {
    serialize: (table) => table,
    deserialize: (bytes) => {
      if (bytes !== null && isTable(bytes, { version, rowBytes })) return bytes;
      if (bytes === null || before === undefined || !isTable(bytes, before))
        throw unreadableLayout(
          bytes,
          before === undefined ? `layout ${version}` : `layouts ${before.version} and ${version}`,
        );
      const table = Buffer.alloc(1 + ((bytes.length - 1) / before.rowBytes) * rowBytes);
      table[0] = version;
      for (let at = 1, to = 1; at < bytes.length; at += before.rowBytes, to += rowBytes)
        before.upgrade(bytes, at, table, to);
      return table;
    },
  };
}

function isTable(bytes: Buffer, { version, rowBytes }: Pick<Layout, 'version' | 'rowBytes'>): boolean {
  return bytes[0] === version && (bytes.length - 1) % rowBytes === 0;
}

/** The error for a value that a build cannot read. @param read - the layouts that it reads. */
export function unreadableLayout(bytes: Buffer | null, read: string): StreamsError {
  return new StreamsError(
    'INVARIANT',
    `a store holds a value of layout ${bytes?.[0] ?? 'none'}, or a cut one, and this build reads ${read}: ` +
      'run the build that wrote it; or stop all instances, delete the offsets of their group and start with ' +
      '`bridge topology --reset`, which rebuilds the state from what the raw topics hold',
  );
}

/** Bytes of a short hash. */
export const hashBytes = 8;

/**
 * The first 8 bytes of a text's SHA-256: enough to distinguish the resources of one user. All operators hash the resource
 * of the same record, so the last result is kept.
 */
export function shortHash(text: string): Buffer {
  if (text !== lastHashed) {
    lastHash = Buffer.from(sha256(text).slice(0, 2 * hashBytes), 'hex');
    lastHashed = text;
  }
  return lastHash;
}

let lastHashed: string | undefined;
let lastHash: Buffer = Buffer.alloc(0);

/** Bytes of an instant. */
export const instantBytes = 6;
/** The latest instant, or revision, that a store can hold: in the year 10889. */
export const maxInstant = 2 ** 48 - 1;

/** Writes an instant, epoch ms, of 0 to `maxInstant`. */
export function writeInstant(row: Buffer, epochMs: number, at: number): void {
  row.writeUIntBE(Math.min(Math.max(0, epochMs), maxInstant), at, instantBytes);
}

export function readInstant(row: Buffer, at: number): number {
  // readUIntBE() would check its arguments again for each of hundreds of rows.
  return row.readUInt16BE(at) * 2 ** 32 + row.readUInt32BE(at + 2);
}

/** Whether an entry last used at the instant in `row` is still remembered at `receivedAt`. */
export function isRemembered(row: Buffer, at: number, receivedAt: number): boolean {
  return Math.min(receivedAt, maxInstant) - readInstant(row, at) <= rememberedMs;
}

/** Bytes of a UUID. */
export const uuidBytes = 16;

/**
 * Writes a UUID as our own hashes give it, in lower case. Takes a third of the time that Buffer takes for it without its
 * dashes.
 */
export function writeUuid(row: Buffer, uuid: string, at: number): void {
  let from = 0;
  for (let to = at; to < at + uuidBytes; to += 1) {
    if (from === 8 || from === 13 || from === 18 || from === 23) from += 1;
    row[to] = (digitAt(uuid, from) << 4) | digitAt(uuid, from + 1);
    from += 2;
  }
}

/** The value of a hexadecimal digit. */
function digitAt(text: string, at: number): number {
  const code = text.charCodeAt(at);
  return code < 58 ? code - 48 : code - 87;
}

/** Reads the UUID at `at` as text. */
export function readUuid(row: Buffer, at: number): string {
  const hex = row.toString('hex', at, at + uuidBytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
