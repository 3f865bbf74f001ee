import { receivedAtOf } from '../schemas/raw-record.ts';
import type { BiometricEvent, Priority, Superseded } from '../schemas/biometric-event.ts';
import { contentHash, toEvent } from './events.ts';
import {
  findRow,
  hashBytes,
  isRemembered,
  maxInstant,
  packedTable,
  readInstant,
  readUuid,
  rowsOf,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  writeInstant,
  writeUuid,
  type UserKey,
} from './packed.ts';
import type { Reading } from '../vendors/reading.ts';
import { drop, type Dropped, type KeyValueStore, type RecordContext, type Serde } from '../streams/index.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { TopicNames } from '../schemas/topics.ts';

/*
 * The resources of a user are in 64 buckets, by the first 6 bits of the hash of their id: one entry for each resource
 * would cost more than it holds, one for all would be rewritten whole by every record. A bucket that outgrows `maxRows`
 * becomes a branch of 16 buckets, by the next 4 bits, and so on, so that a resource costs the same however many there
 * are. The bucket does not depend on the resource's time, because a sleep that is revised over midnight must be found
 * again.
 *
 * A bucket is a packed table of rows, a branch the one byte `branch`. The key's part is the number of the bucket among the
 * 64, then a byte for each branch above it: its number among the 16.
 *
 * A row: 0 hash of the resource id, 8 bytes
 *        8 revision, epoch ms, 6 bytes
 *       14 content hash, 8 bytes
 *       22 event id of the last event, 16 bytes
 *       38 its priority, 1 byte: 0 while there is none, else 1 + the index in `priorities`
 *       39 the newest received_at of a record that named the resource, epoch ms, 6 bytes
 */
const revisionAt = 8;
const contentAt = 14;
const eventIdAt = 22;
const priorityAt = 38;
const touchedAt = 39;
const rowBytes = 45;
const layoutVersion = 1;
const branch = Buffer.of(2);
/** Few enough that copying them costs no more than hashing the resource's id. Ordinary users have three in a bucket. */
const maxRows = 32;
/** The hash has no more bits: what is left in one bucket there stays in it. */
const maxDepth = 14;

/** Stored by index: only ever append. */
const priorities: readonly Priority[] = ['HIGH', 'MEDIUM', 'NORMAL'];

/** The store `revisions`. */
export type Revisions = KeyValueStore<UserKey, Buffer>;

/** The last version of each resource within 35 days, as declared to the builder. */
export const revisionsStore = {
  key: userKey,
  value: bucketOrBranch(),
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that turns the newest version of a resource into an event. Versions are ordered by revision, then by raw
 * offset. A version older than the last one is dropped as `older_revision`, one with the same content as `unchanged`
 * unless the vendor gave it a higher revision. Where the vendor gives none, the order of arrival decides: such a version
 * is never too old. Every version, even a dropped one, renews the 35 days for which its resource is remembered.
 */
export function newestRevision(
  topics: TopicNames<VendorName>,
): (
  reading: Reading,
  record: RecordContext,
  stores: { readonly revisions: Revisions },
) => BiometricEvent[] | Dropped {
  const byTopic = new Map(vendorNames.map((vendor) => [topics.raw[vendor], vendor]));
  return (reading, record, { revisions }) => {
    const vendor = byTopic.get(record.topic);
    if (vendor === undefined) return drop('unknown');
    const receivedAt = receivedAtOf(record);
    const resource = shortHash(reading.resource_id);
    const bucket = renewedBucket(revisions, vendor, reading.user_id, resource);
    const known = rememberedRow(bucket.table, resource, receivedAt);
    const lastRevision = known === undefined ? 0 : readInstant(known.table, known.at + revisionAt);
    // A revision of 0 would be older than anything.
    const vendorRevision = reading.revision === null ? null : clamp(reading.revision);
    const revision = vendorRevision ?? Math.max(clamp(receivedAt), lastRevision);
    const content = contentHash(reading);
    const shortContent = content.slice(0, 2 * hashBytes);

    const isOlder = revision < lastRevision;
    const saysTheSame = known !== undefined && contentOf(known) === shortContent;
    const isUnchanged = saysTheSame && !(vendorRevision !== null && vendorRevision > lastRevision);
    const supersedes = known === undefined ? null : emitted(known);
    const { key, table, at } =
      known === undefined ? withRow(revisions, bucket, resource, receivedAt) : { key: bucket.key, ...known };
    writeInstant(table, Math.max(receivedAt, readInstant(table, at + touchedAt)), at + touchedAt);
    if (!isOlder && !isUnchanged) {
      writeInstant(table, revision, at + revisionAt);
      table.write(shortContent, at + contentAt, 'hex');
    }
    revisions.put(key, table);
    last = { vendor, user: reading.user_id, resource, key };
    if (isOlder) return drop('older_revision');
    if (isUnchanged) return drop('unchanged');
    return [toEvent(reading, { vendor, receivedAt, revision, content, supersedes }, record)];
  };
}

/**
 * Records the event of a version, for the `supersedes` of the next one. The priority is known only after the last
 * operator that can change it, which must call this for every event.
 */
export function noteEmitted(revisions: Revisions, event: BiometricEvent): void {
  const resource = shortHash(event.resource_id);
  const { device_type: vendor, user_id: user } = event;
  const place = last;
  const isIt =
    place !== undefined && place.resource === resource && place.user === user && place.vendor === vendor;
  const key = isIt ? place.key : renewedBucket(revisions, vendor, user, resource).key;
  const table = revisions.get(key);
  const at = table === undefined ? -1 : findRow(table, rowBytes, resource);
  if (table === undefined || at === -1)
    throw new Error('an event arrived whose version is not stored: put newest-revision before this operator');
  writeUuid(table, event.event_id, at + eventIdAt);
  table[at + priorityAt] = 1 + priorities.indexOf(event.priority);
  revisions.put(key, table);
}

/** Where newestRevision() left the resource of the last reading, so that noteEmitted() need not search for it. */
let last: { vendor: string; user: string; resource: Buffer; key: UserKey } | undefined;

/** The position of a row. Nothing else writes to the table. */
interface Row {
  readonly table: Buffer;
  readonly at: number;
}

/** The row of a resource; undefined when there is none, or it has expired. */
function rememberedRow(table: Buffer | undefined, resource: Buffer, receivedAt: number): Row | undefined {
  if (table === undefined) return undefined;
  const at = findRow(table, rowBytes, resource);
  return at !== -1 && isRemembered(table, at + touchedAt, receivedAt) ? { table, at } : undefined;
}

/** Appends a row to those of the bucket that have not expired; a full bucket is divided first. */
function withRow(
  revisions: Revisions,
  bucket: Bucket,
  resource: Buffer,
  receivedAt: number,
): Row & { readonly key: UserKey } {
  let { key, depth } = bucket;
  let others = remembered(bucket.table ?? Buffer.of(layoutVersion), receivedAt);
  while (others.length > maxRows * rowBytes && depth < maxDepth) {
    const children = divided(others, depth);
    // As old as the bucket they were in, not as the record, which may be a late one.
    const timestamp = revisions.timestamp(key);
    for (const [digit, table] of children) revisions.put(childKey(key, digit), table, timestamp);
    revisions.put(key, branch);
    const digit = digitOf(resource, depth);
    key = childKey(key, digit);
    others = children.get(digit) ?? Buffer.of(layoutVersion);
    depth += 1;
  }
  const table = Buffer.alloc(others.length + rowBytes);
  others.copy(table);
  resource.copy(table, others.length);
  return { key, table, at: others.length };
}

/** The rows of a table by the bucket of the next level that they belong to. */
function divided(table: Buffer, depth: number): Map<number, Buffer> {
  const rows = new Map<number, Buffer[]>();
  for (const row of rowsOf(table, rowBytes)) {
    const digit = digitOf(row, depth);
    const some = rows.get(digit);
    if (some === undefined) rows.set(digit, [Buffer.of(layoutVersion), row]);
    else some.push(row);
  }
  return new Map([...rows].map(([digit, parts]) => [digit, Buffer.concat(parts)]));
}

/** The table without its expired rows; usually there are none. */
function remembered(table: Buffer, receivedAt: number): Buffer {
  const isKept = (row: Buffer): boolean => isRemembered(row, touchedAt, receivedAt);
  for (let at = 1; at < table.length; at += rowBytes)
    if (!isRemembered(table, at + touchedAt, receivedAt))
      return Buffer.concat([Buffer.of(layoutVersion), ...rowsOf(table, rowBytes).filter(isKept)]);
  return table;
}

/** The bucket that holds a resource, or would. */
interface Bucket {
  readonly key: UserKey;
  /** Undefined while it is empty. */
  readonly table: Buffer | undefined;
  /** The branches above it. */
  readonly depth: number;
}

/** Finds the bucket, and renews the branches above it, which must not expire before it. */
function renewedBucket(revisions: Revisions, vendor: string, user: string, resource: Buffer): Bucket {
  let key = rootKey(vendor, user, resource);
  for (let depth = 0; ; depth += 1) {
    const table = revisions.get(key);
    if (table?.[0] !== branch[0]) return { key, table, depth };
    revisions.put(key, branch);
    key = childKey(key, digitOf(resource, depth));
  }
}

function rootKey(vendor: string, user: string, resource: Buffer): UserKey {
  return { vendor, user, part: roots[(resource[0] ?? 0) >> 2] ?? Buffer.alloc(0) };
}

const roots = Array.from({ length: 64 }, (_, bucket) => Buffer.of(bucket));

function childKey({ vendor, user, part }: UserKey, digit: number): UserKey {
  const longer = Buffer.allocUnsafe(part.length + 1);
  part.copy(longer);
  longer[part.length] = digit;
  return { vendor, user, part: longer };
}

/** The four bits of a hash, or of the row that begins with it, that choose among the buckets below a branch. */
function digitOf(hash: Buffer, depth: number): number {
  const bit = 6 + 4 * depth;
  const byte = hash[bit >> 3] ?? 0;
  // Bits 2 to 5 of a byte, or its last two and the first two of the next.
  if (bit % 8 === 2) return (byte >> 2) & 15;
  return ((byte << 2) & 12) | ((hash[(bit >> 3) + 1] ?? 0) >> 6);
}

/** A value of the store: a table, or `branch`. */
function bucketOrBranch(): Serde<Buffer> {
  const tables = packedTable(layoutVersion, rowBytes);
  return {
    serialize: (value) => value,
    deserialize: (bytes) =>
      bytes?.length === 1 && bytes[0] === branch[0] ? bytes : tables.deserialize(bytes),
  };
}

function contentOf({ table, at }: Row): string {
  return table.toString('hex', at + contentAt, at + contentAt + hashBytes);
}

function emitted({ table, at }: Row): Superseded | null {
  const priority = priorities[(table[at + priorityAt] ?? 0) - 1];
  return priority === undefined ? null : { event_id: readUuid(table, at + eventIdAt), priority };
}

function clamp(revision: number): number {
  return Math.min(Math.max(1, revision), maxInstant);
}
