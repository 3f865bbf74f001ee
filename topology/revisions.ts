import { isRetry, receivedAtOf, retriedAtOf } from '../schemas/raw-record.ts';
import type { BiometricEvent, Priority, Superseded } from '../schemas/biometric-event.ts';
import { contentHash, toEvent, type NewestVersion } from './events.ts';
import {
  findRow,
  hashBytes,
  instantBytes,
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
 *       45 what the vendor gave as the revision, epoch ms, 6 bytes: lower than the revision where that was raised. The
 *          revision itself where the vendor gave none.
 *
 * Version 1 ended before that column: nothing was raised above what the vendor gave. A version 2 would look like a branch.
 */
const revisionAt = 8;
const contentAt = 14;
const eventIdAt = 22;
const priorityAt = 38;
const touchedAt = 39;
const givenAt = 45;
const rowBytes = 51;
const layoutVersion = 3;
const rowBytesBefore = 45;
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
 * The operator that turns the newest version of a resource into an event. Every version gets a higher revision than the one
 * before it: the vendor's, or `received_at` where the vendor gives none, or else the last one plus 1. So no two versions
 * share an event id. A version older than the last one is dropped as `older_revision`, one with the same content as
 * `unchanged` unless the vendor gave it a higher revision. Every version, even a dropped one, renews the 35 days for which
 * its resource is remembered.
 */
export function newestRevision(
  topics: TopicNames<VendorName>,
): (
  reading: Reading,
  record: RecordContext,
  stores: { readonly revisions: Revisions },
) => NewestVersion[] | Dropped {
  const byTopic = new Map(vendorNames.map((vendor) => [topics.raw[vendor], vendor]));
  return (reading, record, { revisions }) => {
    const vendor = byTopic.get(record.topic);
    if (vendor === undefined) return drop('unknown');
    const receivedAt = receivedAtOf(record);
    const resource = shortHash(reading.resource_id);
    const bucket = renewedBucket(revisions, vendor, reading.user_id, resource);
    const known = rememberedRow(bucket.table, resource, receivedAt);
    // A revision of 0 would be older than anything.
    const given = clamp(reading.revision ?? receivedAt);
    const isVendors = reading.revision !== null;
    const content = contentHash(reading);
    const shortContent = content.slice(0, 2 * hashBytes);
    const revision =
      known === undefined
        ? given
        : revisionBehind(known, {
            given,
            isVendors,
            saysTheSame: contentOf(known) === shortContent,
            isNews: !isRetry(record) || isDayTotal(vendor, reading),
          });
    const supersedes = known === undefined ? null : emitted(known);
    const { key, table, at } =
      known === undefined ? withRow(revisions, bucket, resource, receivedAt) : { key: bucket.key, ...known };
    writeInstant(table, Math.max(receivedAt, readInstant(table, at + touchedAt)), at + touchedAt);
    if (typeof revision === 'number') {
      writeInstant(table, revision, at + revisionAt);
      writeInstant(table, isVendors ? given : revision, at + givenAt);
      table.write(shortContent, at + contentAt, 'hex');
    }
    revisions.put(key, table);
    last = { vendor, user: reading.user_id, resource, key };
    if (typeof revision === 'string') return drop(revision);
    const appendedAt = retriedAtOf(record) ?? receivedAt;
    const version = { vendor, receivedAt, appendedAt, revision, content, supersedes };
    return [{ event: toEvent(reading, version, record), sleep: reading.sleep }];
  };
}

/** A version, compared with the last one of its resource. */
interface Compared {
  /** Its revision as the vendor gave it, or `received_at`, epoch ms. */
  readonly given: number;
  readonly isVendors: boolean;
  /** Whether its content is that of the last one. */
  readonly saysTheSame: boolean;
  /** Whether it is newer than the last one by its offset alone, which a dead letter that is retried later is not. */
  readonly isNews: boolean;
}

/**
 * The revision of a version behind the last one of its resource, or why it is dropped. Only a lower revision of the vendor,
 * or a retried dead letter, can be too old: where a vendor gives no revision, or the same one again, offsets decide.
 */
function revisionBehind(
  { table, at }: Row,
  { given, isVendors, saysTheSame, isNews }: Compared,
): number | 'older_revision' | 'unchanged' {
  const last = readInstant(table, at + revisionAt);
  const lastGiven = readInstant(table, at + givenAt);
  if (isVendors && given < lastGiven) return 'older_revision';
  if (saysTheSame && !(isVendors && given > lastGiven)) return 'unchanged';
  if (given > last) return given;
  // Behind the last possible revision there is none.
  return (isNews || given > lastGiven) && last < maxInstant ? last + 1 : 'older_revision';
}

/** Whether it is a day's totals over all points seen: whatever record they come with, they are newer than the last ones. */
function isDayTotal(vendor: VendorName, { kind }: Reading): boolean {
  return vendor === 'healthkit' && kind === 'daily';
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
  const tables = packedTable({
    version: layoutVersion,
    rowBytes,
    before: {
      version: 1,
      rowBytes: rowBytesBefore,
      upgrade: (old, at, row, to) => {
        old.copy(row, to, at, at + rowBytesBefore);
        old.copy(row, to + givenAt, at + revisionAt, at + revisionAt + instantBytes);
      },
    },
  });
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
  return priority === undefined
    ? null
    : { event_id: readUuid(table, at + eventIdAt), priority, alert_ids: [] };
}

function clamp(revision: number): number {
  return Math.min(Math.max(1, revision), maxInstant);
}
