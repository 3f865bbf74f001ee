import type { Priority, Superseded } from '../schemas/biometric-event.ts';
import type { Serde } from '../streams/index.ts';
import {
  hashBytes,
  isRemembered,
  readInstant,
  readUuid,
  unreadableLayout,
  uuidBytes,
  writeInstant,
  writeUuid,
} from './packed.ts';

/*
 * A table of the versions of resources is a byte with the version of the layout, then a row for each resource, in one piece of
 * memory.
 *
 * A row: 0 hash of the resource id, 8 bytes
 *        8 revision, epoch ms, 6 bytes
 *       14 content hash, 8 bytes
 *       22 event id of the event that readers have, 16 bytes
 *       38 its priority, in the two low bits: 0 while there is none, else 1 + the index in `priorities`; and two flags,
 *          `hasOutcome` and `hasTold`
 *       39 the newest received_at of a record that named the resource, epoch ms, 6 bytes
 *       45 what the vendor gave as the revision, epoch ms, 6 bytes: lower than the revision where that was raised. The
 *          revision itself where the vendor gave none.
 *       51 raw offset of the version, signed, 8 bytes; -1 where an earlier build put it
 *       59 the number of alerts of the event that readers have, 1 byte
 *       60 with `hasOutcome`, the version's outcome hash, 8 bytes; zeros where an earlier build put it, which had none.
 *          Without it, the content hash is the outcome hash.
 *          with `hasTold`, the outcome hash of the event that readers have, 8 bytes. Without it, it is the version's.
 *          the ids of the alerts of the event that readers have, 16 bytes each
 *
 * Most versions raise nothing, so that most rows end at 60. A row holds its alerts itself, so that they move and expire with it.
 *
 * Layout 3 ended at 51 bytes, layout 1 at 45: it raised no revision above what the vendor gave.
 */
const revisionAt = 8;
const contentAt = 14;
const eventIdAt = 22;
const priorityAt = 38;
const touchAt = 39;
const givenAt = 45;
const offsetAt = 51;
const alertsAt = 59;
const leastRowBytes = 60;
/** Bytes of a row of which only the resource is set. */
export const emptyRowBytes = leastRowBytes;
const layoutVersion = 4;
const bytesBefore: ReadonlyMap<number | undefined, number> = new Map([
  [1, 45],
  [3, 51],
]);

const priorityBits = 3;
const hasOutcome = 64;
const hasTold = 128;

/** The most alerts of one event that a row can hold. */
export const maxAlerts = 255;

/** The raw offset of a version that an earlier build put. */
export const unknownOffset = -1n;

/** Stored by index: only ever append. */
const priorities: readonly Priority[] = ['HIGH', 'MEDIUM', 'NORMAL'];

/** A table without rows. */
export const noVersions = Buffer.of(layoutVersion);

/**
 * Encodes tables. A table of layout 1 or 3 is converted when it is read, and rewritten with the next change.
 * @throws StreamsError INVARIANT for any other layout, as packedTable() does.
 */
export const versionTable: Serde<Buffer> = {
  serialize: (table) => table,
  deserialize: (bytes) => {
    if (bytes?.[0] === layoutVersion) {
      let at = 1;
      while (at + leastRowBytes <= bytes.length) at = endOf(bytes, at);
      if (at === bytes.length) return bytes;
    }
    const rowBytes = bytesBefore.get(bytes?.[0]);
    if (bytes === null || rowBytes === undefined || (bytes.length - 1) % rowBytes !== 0)
      throw unreadableLayout(bytes, `layouts ${[...bytesBefore.keys()].join(', ')} and ${layoutVersion}`);
    return upgraded(bytes, rowBytes);
  },
};

/** The table in the present layout: its versions have unknown outcomes and offsets, and name no alerts. */
function upgraded(old: Buffer, oldBytes: number): Buffer {
  const rowBytes = leastRowBytes + hashBytes;
  const table = Buffer.alloc(1 + ((old.length - 1) / oldBytes) * rowBytes);
  table[0] = layoutVersion;
  for (let from = 1, to = 1; from < old.length; from += oldBytes, to += rowBytes) {
    old.copy(table, to, from, from + oldBytes);
    if (oldBytes <= givenAt) writeInstant(table, readInstant(table, to + revisionAt), to + givenAt);
    table[to + priorityAt] = (table[to + priorityAt] ?? 0) | hasOutcome;
    table.writeBigInt64BE(unknownOffset, to + offsetAt);
  }
  return table;
}

/** The position after a row. */
function endOf(table: Buffer, at: number): number {
  const flags = table[at + priorityAt] ?? 0;
  const outcomes = (flags & hasOutcome ? hashBytes : 0) + (flags & hasTold ? hashBytes : 0);
  return at + leastRowBytes + outcomes + uuidBytes * (table[at + alertsAt] ?? 0);
}

/** The position of the row of a resource; -1 when there is none. */
export function findVersion(table: Buffer, resource: Buffer): number {
  const high = resource.readUInt32BE(0);
  const low = resource.readUInt32BE(4);
  for (let at = 1; at < table.length; at = endOf(table, at))
    if (table.readUInt32BE(at) === high && table.readUInt32BE(at + 4) === low) return at;
  return -1;
}

/** The rows of a table; each begins with the hash of its resource. They share its memory. */
export function versionsOf(table: Buffer): Buffer[] {
  const rows: Buffer[] = [];
  for (let at = 1; at < table.length;) {
    const end = endOf(table, at);
    rows.push(table.subarray(at, end));
    at = end;
  }
  return rows;
}

export function countVersions(table: Buffer): number {
  let count = 0;
  for (let at = 1; at < table.length; at = endOf(table, at)) count += 1;
  return count;
}

/** The table without the rows that are not remembered at `receivedAt`; usually there are none. */
export function rememberedVersions(table: Buffer, receivedAt: number): Buffer {
  let at = 1;
  while (at < table.length && isVersionRemembered(table, at, receivedAt)) at = endOf(table, at);
  if (at >= table.length) return table;
  const kept = versionsOf(table).filter((row) => isVersionRemembered(row, 0, receivedAt));
  return Buffer.concat([noVersions, ...kept]);
}

/** Whether the resource of a row was named by a record recently enough. */
export function isVersionRemembered(table: Buffer, at: number, receivedAt: number): boolean {
  return isRemembered(table, at + touchAt, receivedAt);
}

/** A copy of the table with one more row, its last, of which only the resource is set; and the position of that row. */
export function withResource(table: Buffer, resource: Buffer): { table: Buffer; at: number } {
  const next = Buffer.alloc(table.length + leastRowBytes);
  table.copy(next);
  resource.copy(next, table.length);
  return { table: next, at: table.length };
}

/** Notes that a record received at `receivedAt` has named the resource. */
export function touch(table: Buffer, at: number, receivedAt: number): void {
  writeInstant(table, Math.max(receivedAt, readInstant(table, at + touchAt)), at + touchAt);
}

/** The newest received_at of a record that named the resource of a row, epoch ms. */
export function touchedAt(row: Buffer): number {
  return readInstant(row, touchAt);
}

/** The raw offset of a row's version; `unknownOffset` if an earlier build put it. */
export function versionOffset(row: Buffer): bigint {
  return row.readBigInt64BE(offsetAt);
}

/** What a row says of its version. Hashes are hex digits. */
export interface StoredVersion {
  readonly revision: number;
  /** What the vendor gave as the revision. */
  readonly given: number;
  readonly content: string;
  /** Of its raw record; -1 where that is not known. */
  readonly offset: bigint;
}

export function readVersion(table: Buffer, at: number): StoredVersion {
  return {
    revision: readInstant(table, at + revisionAt),
    given: readInstant(table, at + givenAt),
    content: hashAt(table, at + contentAt),
    offset: table.readBigInt64BE(at + offsetAt),
  };
}

/**
 * Sets the version that a row stands for. Its outcome stays that of the previous version until writeTold().
 * @returns the table, or a new one if the length of the row changes.
 */
export function writeVersion(
  table: Buffer,
  at: number,
  { revision, given, content, offset }: StoredVersion,
): Buffer {
  const flags = table[at + priorityAt] ?? 0;
  let next = table;
  if (flags !== 0 && !(flags & hasOutcome)) {
    const place = at + leastRowBytes;
    next = withOtherEnd(table, place, place + hashBytes);
    table.copy(next, place, at + contentAt, at + contentAt + hashBytes);
    next[at + priorityAt] = flags | hasOutcome;
  }
  writeInstant(next, revision, at + revisionAt);
  writeInstant(next, given, at + givenAt);
  next.write(content, at + contentAt, 'hex');
  next.writeBigInt64BE(offset, at + offsetAt);
  return next;
}

/** The content hash of the version that a row stands for, as hex digits. */
export function contentOf(table: Buffer, at: number): string {
  return hashAt(table, at + contentAt);
}

/** The event of a resource that readers have. */
export interface Told extends Superseded {
  /** Its outcome hash, as hex digits; zeros where it is not known. */
  readonly outcome: string;
}

/** Whether readers have an event of a row's resource. */
export function isTold(table: Buffer, at: number): boolean {
  return ((table[at + priorityAt] ?? 0) & priorityBits) !== 0;
}

/** The event that readers have; null when there is none. */
export function readTold(table: Buffer, at: number): Superseded | null {
  const priority = priorities[((table[at + priorityAt] ?? 0) & priorityBits) - 1];
  if (priority === undefined) return null;
  const alerts = table[at + alertsAt] ?? 0;
  if (alerts === 0) return { event_id: readUuid(table, at + eventIdAt), priority, alert_ids: [] };
  const first = endOf(table, at) - uuidBytes * alerts;
  const alert_ids = Array.from({ length: alerts }, (_, n) => readUuid(table, first + uuidBytes * n));
  return { event_id: readUuid(table, at + eventIdAt), priority, alert_ids };
}

/** The outcome hashes of a row's version and of the event that readers have, as hex digits. */
export function readOutcomes(table: Buffer, at: number): { version: string; told: string } {
  const flags = table[at + priorityAt] ?? 0;
  let place = at + leastRowBytes;
  const version = flags & hasOutcome ? hashAt(table, place) : contentOf(table, at);
  if (flags & hasOutcome) place += hashBytes;
  return { version, told: flags & hasTold ? hashAt(table, place) : version };
}

/**
 * A copy of the table with another outcome of a row's version, and another event that readers have.
 * @param outcome - hex digits; usually that of the event as well.
 * @throws RangeError for more than `maxAlerts` alerts.
 */
export function writeTold(table: Buffer, at: number, outcome: string, told: Told): Buffer {
  const own = outcome === contentOf(table, at) ? '' : outcome;
  const others = told.outcome === outcome ? '' : told.outcome;
  const count = told.alert_ids.length;
  const end = endOf(table, at);
  const newEnd = at + leastRowBytes + (own.length + others.length) / 2 + uuidBytes * count;
  const next = withOtherEnd(table, end, newEnd);
  writeUuid(next, told.event_id, at + eventIdAt);
  const flags = (own === '' ? 0 : hasOutcome) | (others === '' ? 0 : hasTold);
  next[at + priorityAt] = (1 + priorities.indexOf(told.priority)) | flags;
  next.writeUInt8(count, at + alertsAt);
  next.write(own + others, at + leastRowBytes, 'hex');
  let place = newEnd - uuidBytes * count;
  for (const alert of told.alert_ids) {
    writeUuid(next, alert, place);
    place += uuidBytes;
  }
  return next;
}

/** The outcome hash of a version that an earlier build put. */
export const unknownOutcome = '0'.repeat(2 * hashBytes);
/** The outcome hash of a version that this generation does not have, because it makes nothing of the version's record. */
export const noOutcome = 'f'.repeat(2 * hashBytes);

/** A copy of the table in which readers have no event of a row's resource. */
export function withoutTold(table: Buffer, at: number): Buffer {
  const { version } = readOutcomes(table, at);
  const own = version === contentOf(table, at) ? '' : version;
  const newEnd = at + leastRowBytes + own.length / 2;
  const next = withOtherEnd(table, endOf(table, at), newEnd);
  next.fill(0, at + eventIdAt, at + priorityAt);
  next[at + priorityAt] = own === '' ? 0 : hasOutcome;
  next[at + alertsAt] = 0;
  next.write(own, at + leastRowBytes, 'hex');
  return next;
}

/** A copy in which the part that began at `end` begins at `newEnd`. */
function withOtherEnd(table: Buffer, end: number, newEnd: number): Buffer {
  const next = Buffer.allocUnsafe(table.length + newEnd - end);
  table.copy(next, 0, 0, Math.min(end, newEnd));
  table.copy(next, newEnd, end);
  return next;
}

function hashAt(table: Buffer, at: number): string {
  return table.toString('hex', at, at + hashBytes);
}
