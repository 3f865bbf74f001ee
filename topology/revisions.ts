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
import { drop, type Dropped, type KeyValueStore, type RecordContext } from '../streams/index.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { TopicNames } from '../schemas/topics.ts';

/*
 * The resources of a user are in 64 buckets, by the first 6 bits of the hash of their id: one entry for each resource
 * would cost more than it holds, one for all would be rewritten whole by every record. The bucket does not depend on
 * the resource's time, because a sleep that is revised over midnight must be found again.
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

/** Stored by index: only ever append. */
const priorities: readonly Priority[] = ['HIGH', 'MEDIUM', 'NORMAL'];

/** The store `revisions`. */
export type Revisions = KeyValueStore<UserKey, Buffer>;

/** The last version of each resource within 35 days, as declared to the builder. */
export const revisionsStore = {
  key: userKey(1),
  value: packedTable(layoutVersion, rowBytes),
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
    const key = bucketKey(vendor, reading.user_id, resource);
    const before = revisions.get(key);
    const last = rememberedRow(before, resource, receivedAt);
    const lastRevision = last === undefined ? 0 : readInstant(last.table, last.at + revisionAt);
    // A revision of 0 would be older than anything.
    const vendorRevision = reading.revision === null ? null : clamp(reading.revision);
    const revision = vendorRevision ?? Math.max(clamp(receivedAt), lastRevision);
    const content = contentHash(reading);
    const shortContent = content.slice(0, 2 * hashBytes);

    const isOlder = revision < lastRevision;
    const saysTheSame = last !== undefined && contentOf(last) === shortContent;
    const isUnchanged = saysTheSame && !(vendorRevision !== null && vendorRevision > lastRevision);
    const supersedes = last === undefined ? null : emitted(last);
    const { table, at } = last ?? withRow(before, resource, receivedAt);
    writeInstant(table, Math.max(receivedAt, readInstant(table, at + touchedAt)), at + touchedAt);
    if (!isOlder && !isUnchanged) {
      writeInstant(table, revision, at + revisionAt);
      table.write(shortContent, at + contentAt, 'hex');
    }
    revisions.put(key, table);
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
  const key = bucketKey(event.device_type, event.user_id, resource);
  const table = revisions.get(key);
  const at = table === undefined ? -1 : findRow(table, rowBytes, resource);
  if (table === undefined || at === -1)
    throw new Error('an event arrived whose version is not stored: put newest-revision before this operator');
  writeUuid(table, event.event_id, at + eventIdAt);
  table[at + priorityAt] = 1 + priorities.indexOf(event.priority);
  revisions.put(key, table);
}

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

/** Appends a row to those of the table that have not expired. */
function withRow(before: Buffer | undefined, resource: Buffer, receivedAt: number): Row {
  const others = remembered(before ?? Buffer.of(layoutVersion), receivedAt);
  const table = Buffer.alloc(others.length + rowBytes);
  others.copy(table);
  resource.copy(table, others.length);
  return { table, at: others.length };
}

/** The table without its expired rows; usually there are none. */
function remembered(table: Buffer, receivedAt: number): Buffer {
  const isKept = (row: Buffer): boolean => isRemembered(row, touchedAt, receivedAt);
  for (let at = 1; at < table.length; at += rowBytes)
    if (!isRemembered(table, at + touchedAt, receivedAt))
      return Buffer.concat([Buffer.of(layoutVersion), ...rowsOf(table, rowBytes).filter(isKept)]);
  return table;
}

function bucketKey(vendor: string, user: string, resource: Buffer): UserKey {
  const part = buckets[(resource[0] ?? 0) >> 2] ?? noBucket;
  // All operators of a record use the same bucket, so they share one key, which the store recognizes.
  if (lastKey.part !== part || lastKey.user !== user || lastKey.vendor !== vendor)
    lastKey = { vendor, user, part };
  return lastKey;
}

const buckets = Array.from({ length: 64 }, (_, bucket) => Buffer.of(bucket));
const noBucket = Buffer.alloc(0);
let lastKey: UserKey = { vendor: '', user: '', part: noBucket };

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
