import { isRetry, receivedAtOf, retriedAtOf } from '../schemas/raw-record.ts';
import type { BiometricEvent, Trigger } from '../schemas/biometric-event.ts';
import { contentHash, outcomeHash, toEvent, type NewestVersion } from './events.ts';
import {
  hashBytes,
  maxInstant,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  type UserKey,
} from './packed.ts';
import {
  contentOf,
  countVersions,
  emptyRowBytes,
  findVersion,
  isVersionRemembered,
  noVersions,
  readTold,
  readVersion,
  rememberedVersions,
  touch,
  touchedAt,
  unknownOffset,
  versionOffset,
  versionsOf,
  versionTable,
  withResource,
  writeTold,
  writeVersion,
  type StoredVersion,
} from './version-rows.ts';
import { firstGeneration, type Generation } from './generation.ts';
import type { Seeded } from './seed.ts';
import { isBack, isIncompleteDay, type Start } from './start.ts';
import { dayMs, parseInstant } from '../vendors/instant.ts';
import type { Reading } from '../vendors/reading.ts';
import { drop, type Dropped, type KeyValueStore, type RecordContext, type Serde } from '../streams/index.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { TopicNames } from '../schemas/topics.ts';

/*
 * The resources of a user are in 64 buckets, by the first 6 bits of the hash of their id: an entry per resource would
 * cost more than it holds, and a single entry would be rewritten whole by every record. A bucket that outgrows `maxRows`
 * becomes a branch of 16 buckets, by the next 4 bits, and so on, so that a resource costs the same however many there
 * are. The bucket does not depend on the resource's time, because a sleep that is revised over midnight must be found
 * again.
 *
 * A bucket is a table of version-rows.ts, a branch the one byte `branch`, which no layout of a table begins with. The key's
 * part is the number of the bucket among the 64, then a byte for each branch above it: its number among the 16.
 */
const branch = Buffer.of(2);
/**
 * Few enough rows that copying them costs no more than hashing the resource's id. Ordinary users have three in a bucket.
 */
const maxRows = 32;
/** The hash has no more bits: rows that share a bucket at this depth stay in it. */
const maxDepth = 14;

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
  generation: Generation = firstGeneration,
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
    const last = known === undefined ? undefined : readVersion(known.table, known.at);
    const compared =
      last === undefined
        ? given
        : revisionBehind(last, {
            given,
            isVendors,
            content: shortContent,
            isNews: !isRetry(record) || isDayTotal(vendor, reading),
          });
    const isResent = compared === 'unchanged' && last !== undefined && isSeeded(last, record, generation);
    const revision = isResent ? last.revision : compared;
    const supersedes = known === undefined ? null : readTold(known.table, known.at);
    const place =
      known === undefined ? withRow(revisions, bucket, resource, receivedAt) : { key: bucket.key, ...known };
    const { key, at } = place;
    touch(place.table, at, receivedAt);
    const offset = versionOffsetOf(vendor, reading, record, generation);
    const table =
      typeof revision === 'string'
        ? place.table
        : writeVersion(place.table, at, {
            revision,
            given: isVendors ? given : isResent ? last.given : revision,
            content: shortContent,
            offset,
          });
    revisions.put(key, table);
    if (typeof revision === 'string') return drop(revision);
    placed = { revisions, vendor, user: reading.user_id, resource, key, table, at };
    const appendedAt = retriedAtOf(record) ?? receivedAt;
    const { number } = generation;
    const version = { vendor, receivedAt, appendedAt, revision, content, supersedes, generation: number };
    return [{ event: toEvent(reading, version, record), sleep: reading.sleep, isResent }];
  };
}

/**
 * The versions of an entry that records before `start` made: see seed.ts. A branch is taken over as it is.
 * @throws StreamsError INVARIANT for another layout.
 */
export function seededVersions(value: Buffer, { offset, epochMs }: Start): Seeded {
  const table = revisionsStore.value.deserialize(value);
  if (table[0] === branch[0]) return { value: table, uncertain: 0 };
  let uncertain = 0;
  const rows = versionsOf(table).filter((row) => {
    const of = versionOffset(row);
    if (of === unknownOffset && touchedAt(row) >= epochMs) uncertain += 1;
    return of < offset;
  });
  return { value: rows.length === 0 ? undefined : Buffer.concat([noVersions, ...rows]), uncertain };
}

/**
 * Whether the last version lies before the start of a recomputation, so that nothing holds its body. The first record
 * that says the same again stands for it, so that a change of rules can correct it. On the way back the earlier rules
 * apply, and the earlier event is published again.
 */
function isSeeded(last: StoredVersion, record: RecordContext, generation: Generation): boolean {
  const start = generation.startOf(record.topic, record.partition);
  return start !== undefined && !isBack(start) && last.offset < start.offset && generation.isHistory(record);
}

/**
 * The raw offset of a version. If records of a day lie on both sides of the start of a recomputation, its version counts
 * as one from before the start: the earlier points are known only as the live generation has them, so the version must
 * correct nothing.
 */
function versionOffsetOf(
  vendor: VendorName,
  reading: Reading,
  record: RecordContext,
  generation: Generation,
): bigint {
  if (!isDayTotal(vendor, reading) || !generation.isHistory(record)) return record.offset;
  const start = generation.startOf(record.topic, record.partition);
  const day = parseInstant(reading.local_date);
  if (start === undefined || day === null) return record.offset;
  return isIncompleteDay(Math.floor(day.epochMs / dayMs), start) ? start.offset - 1n : record.offset;
}

/**
 * The raw offset of the version that the store holds of a resource, which is the last one that readers were told;
 * undefined if it holds none, or if an earlier build put it without an offset.
 * @param get - the value of a key's bytes.
 * @throws StreamsError INVARIANT for a value of a layout that this build cannot read.
 */
export function storedVersionOffset(
  get: (key: Buffer) => Buffer | undefined,
  {
    vendor,
    user,
    resourceId,
  }: { readonly vendor: string; readonly user: string; readonly resourceId: string },
): bigint | undefined {
  const row = rowIn(get, { vendor, user }, shortHash(resourceId));
  const offset = row === undefined ? unknownOffset : readVersion(row.table, row.at).offset;
  return offset === unknownOffset ? undefined : offset;
}

/**
 * Whether a look-up comes to an entry. Where a branch has expired and its bucket began anew, what it had divided is there until it is
 * swept.
 * @param get - the value of a key's bytes.
 */
export function isReachable(
  get: (key: Buffer) => Buffer | undefined,
  { vendor, user, part }: UserKey,
): boolean {
  for (let length = 1; length < part.length; length += 1) {
    const above = get(userKey.serialize({ vendor, user, part: part.subarray(0, length) }) ?? noKey);
    if (above?.equals(branch) !== true) return false;
  }
  return true;
}

/**
 * The row of a resource in the entries of a changelog.
 * @param get - the value of a key's bytes.
 * @param resource - its shortHash(), or a row.
 * @throws StreamsError INVARIANT for a value of a layout that this build cannot read.
 */
export function rowIn(
  get: (key: Buffer) => Buffer | undefined,
  { vendor, user }: { readonly vendor: string; readonly user: string },
  resource: Buffer,
): Row | undefined {
  let key = rootKey(vendor, user, resource);
  for (let depth = 0; ; depth += 1) {
    const value = get(userKey.serialize(key) ?? noKey);
    if (value === undefined) return undefined;
    const table = revisionsStore.value.deserialize(value);
    if (table[0] !== branch[0]) {
      const at = findVersion(table, resource);
      return at === -1 ? undefined : { table, at };
    }
    key = childKey(key, digitOf(resource, depth));
  }
}

const noKey = Buffer.alloc(0);

/** A version, compared with the last one of its resource. */
interface Compared {
  /** Its revision as the vendor gave it, or `received_at`, epoch ms. */
  readonly given: number;
  readonly isVendors: boolean;
  readonly content: string;
  /**
   * Whether its offset alone makes it newer than the last one. That does not hold for a dead letter that is retried
   * later.
   */
  readonly isNews: boolean;
}

/**
 * The revision of a version that follows the last one of its resource, or why it is dropped. Only a lower revision of the
 * vendor, or a retried dead letter, can be too old: where a vendor gives no revision, or the same one again, offsets
 * decide.
 */
function revisionBehind(
  last: StoredVersion,
  { given, isVendors, content, isNews }: Compared,
): number | 'older_revision' | 'unchanged' {
  if (isVendors && given < last.given) return 'older_revision';
  if (content === last.content && !(isVendors && given > last.given)) return 'unchanged';
  if (given > last.revision) return given;
  // There is none after the last possible revision.
  return (isNews || given > last.given) && last.revision < maxInstant ? last.revision + 1 : 'older_revision';
}

/** Whether it is a day's totals over all points seen: whatever record they come with, they are newer than the last ones. */
function isDayTotal(vendor: VendorName, { kind }: Reading): boolean {
  return vendor === 'healthkit' && kind === 'daily';
}

/**
 * Records the event of a version, for the `supersedes` of the next one. Priority and triggers are known only after the last
 * operator that can change them, which must call this for every event.
 */
export function noteEmitted(revisions: Revisions, event: BiometricEvent): void {
  const resource = shortHash(event.resource_id);
  const { device_type: vendor, user_id: user, event_id, priority, triggers } = event;
  const place = placed;
  placed = undefined;
  const isIt =
    place?.resource === resource &&
    place.user === user &&
    place.vendor === vendor &&
    place.revisions === revisions;
  const { key, table, at } =
    place !== undefined && isIt ? place : storedRow(revisions, vendor, user, resource);
  const outcome = outcomeHash(contentOf(table, at), event);
  const told = { event_id, priority, alert_ids: alertsOf(triggers), outcome };
  revisions.put(key, writeTold(table, at, outcome, told));
}

/** The ids of the alerts that an event raises, in the order of its triggers, each once: two rules of one type raise one. */
function alertsOf(triggers: readonly Trigger[]): readonly string[] {
  if (triggers.length === 0) return none;
  const ids = triggers.map(({ alert_id }) => alert_id);
  return ids.length === 1 ? ids : [...new Set(ids)];
}

const none: readonly string[] = [];

/**
 * The row that newestRevision() has just put. It is kept until noteEmitted() uses it, so that the row need not be read
 * again.
 */
let placed:
  (PlacedRow & { revisions: Revisions; vendor: string; user: string; resource: Buffer }) | undefined;

function storedRow(revisions: Revisions, vendor: string, user: string, resource: Buffer): PlacedRow {
  const { key, table } = renewedBucket(revisions, vendor, user, resource);
  const at = table === undefined ? -1 : findVersion(table, resource);
  if (table === undefined || at === -1)
    throw new Error('an event arrived whose version is not stored: put newest-revision before this operator');
  return { key, table, at };
}

/**
 * The row of a resource, for callers that do not process a record; undefined if there is none. Renews nothing that the
 * store's current timestamp does not.
 * @param resource - its shortHash().
 */
export function findRow(
  revisions: Revisions,
  { vendor, user }: Pick<UserKey, 'vendor' | 'user'>,
  resource: Buffer,
): PlacedRow | undefined {
  const { key, table } = renewedBucket(revisions, vendor, user, resource);
  const at = table === undefined ? -1 : findVersion(table, resource);
  return table === undefined || at === -1 ? undefined : { key, table, at };
}

/** Inserts a row from another table, for a resource that has none. @param touchedAtMs - when it was touched last. */
export function insertRow(
  revisions: Revisions,
  { vendor, user }: Pick<UserKey, 'vendor' | 'user'>,
  row: Buffer,
  touchedAtMs: number,
): void {
  const bucket = renewedBucket(revisions, vendor, user, row.subarray(0, hashBytes));
  const { key, table } = withRow(revisions, bucket, row.subarray(0, hashBytes), touchedAtMs);
  // The last row is the one that withRow() has made, with nothing after it.
  revisions.put(key, Buffer.concat([table.subarray(0, table.length - emptyRowBytes), row]));
}

/** The rows of an entry; none of a branch. */
export function rowsOf(value: Buffer): Buffer[] {
  const table = revisionsStore.value.deserialize(value);
  return table[0] === branch[0] ? [] : versionsOf(table);
}

/** The position of a row. Nothing else writes to the table. */
export interface Row {
  readonly table: Buffer;
  readonly at: number;
}

/** A row and the bucket that it is in. */
export interface PlacedRow extends Row {
  readonly key: UserKey;
}

/** The row of a resource; undefined when there is none, or it has expired. */
function rememberedRow(table: Buffer | undefined, resource: Buffer, receivedAt: number): Row | undefined {
  if (table === undefined) return undefined;
  const at = findVersion(table, resource);
  return at !== -1 && isVersionRemembered(table, at, receivedAt) ? { table, at } : undefined;
}

/** Appends a row to those of the bucket that have not expired; a full bucket is divided first. */
function withRow(revisions: Revisions, bucket: Bucket, resource: Buffer, receivedAt: number): PlacedRow {
  let { key, depth } = bucket;
  let others = rememberedVersions(bucket.table ?? noVersions, receivedAt);
  while (depth < maxDepth && countVersions(others) > maxRows) {
    const children = divided(others, depth);
    // As old as the bucket they were in, not as the record, which may be late.
    const timestamp = revisions.timestamp(key);
    for (const [digit, table] of children) revisions.put(childKey(key, digit), table, timestamp);
    revisions.put(key, branch);
    const digit = digitOf(resource, depth);
    key = childKey(key, digit);
    others = children.get(digit) ?? noVersions;
    depth += 1;
  }
  return { key, ...withResource(others, resource) };
}

/** The rows of a table by the bucket of the next level that they belong to. */
function divided(table: Buffer, depth: number): Map<number, Buffer> {
  const rows = new Map<number, Buffer[]>();
  for (const row of versionsOf(table)) {
    const digit = digitOf(row, depth);
    const some = rows.get(digit);
    if (some === undefined) rows.set(digit, [noVersions, row]);
    else some.push(row);
  }
  return new Map([...rows].map(([digit, parts]) => [digit, Buffer.concat(parts)]));
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
  return {
    serialize: (value) => value,
    deserialize: (bytes) =>
      bytes?.length === 1 && bytes[0] === branch[0] ? bytes : versionTable.deserialize(bytes),
  };
}

function clamp(revision: number): number {
  return Math.min(Math.max(1, revision), maxInstant);
}
