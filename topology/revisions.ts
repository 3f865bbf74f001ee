import type { BiometricEvent, Priority, Superseded } from '../schemas/biometric-event.ts';
import { contentHash, toEvent } from './events.ts';
import {
  findRow,
  hashBytes,
  isRemembered,
  maxInstant,
  packedTable,
  readInstant,
  rowsOf,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  uuidBytes,
  uuidText,
  writeInstant,
  type UserKey,
} from './packed.ts';
import { rawMeta, type Reading } from './reading.ts';
import { drop, type Dropped, type KeyValueStore, type RecordContext } from './streams/index.ts';
import { devices, type TopicNames } from './topics.ts';

/*
 * The resources of a user lie in 64 buckets, by the first 6 bits of the hash of their id: one entry for each resource
 * would cost more than it holds, one for all would be rewritten whole by every record. Nothing of a resource's time
 * chooses the bucket, because a sleep that is revised over midnight has to be found again.
 *
 * A row: 0 hash of the resource id, 8 bytes
 *        8 revision, epoch ms, 6 bytes
 *       14 content hash, 8 bytes
 *       22 event id of the last event, 16 bytes
 *       38 its priority, 1 byte: 0 while there is none, else 1 + the place in `priorities`
 *       39 received_at of the record that last named the resource, epoch ms, 6 bytes
 */
const revisionAt = 8;
const contentAt = 14;
const eventIdAt = 22;
const priorityAt = 38;
const touchedAt = 39;
const rowBytes = 45;
const layout = 1;

/** Their places are stored: only ever append. */
const priorities: readonly Priority[] = ['HIGH', 'MEDIUM', 'NORMAL'];

/** What the operators of revisions need of the store `revisions`. */
export type Revisions = KeyValueStore<UserKey, Buffer>;

/** The last version of each resource of 35 days, as declared to the builder. */
export const revisionsStore = {
  key: userKey(1),
  value: packedTable(layout, rowBytes),
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that makes the newest version of a resource an event. Versions are ordered by revision, then by raw
 * offset. A version older than the last one is dropped as `older_revision`, one that says the same as `unchanged`
 * unless the vendor gave it a higher revision. Where the vendor gives none, the order of arrival decides: such a
 * version is never too old. Every version, also one that is dropped, renews the 35 days that its resource is remembered.
 */
export function newestRevision(
  topics: TopicNames,
): (
  reading: Reading,
  record: RecordContext,
  stores: { readonly revisions: Revisions },
) => BiometricEvent[] | Dropped {
  const byTopic = new Map(devices.map((device) => [topics.raw[device], device]));
  return (reading, record, { revisions }) => {
    const device = byTopic.get(record.topic);
    if (device === undefined) return drop('unknown');
    const { receivedAt } = rawMeta(device, record);
    const resource = shortHash(reading.resource_id);
    const key = bucketKey(device, reading.user_id, resource);
    const table = revisions.get(key);
    const last = rememberedRow(table, resource, receivedAt);
    const lastRevision = last === undefined ? 0 : readInstant(last, revisionAt);
    // A revision of 0 would be older than anything.
    const given = reading.revision === null ? null : clamp(reading.revision);
    const revision = given ?? Math.max(clamp(receivedAt), lastRevision);
    const hash = contentHash(reading);
    const content = Buffer.from(hash, 'hex').subarray(0, hashBytes);

    const isOlder = revision < lastRevision;
    const saysTheSame = last?.subarray(contentAt, contentAt + hashBytes).equals(content) ?? false;
    const isUnchanged = saysTheSame && !(given !== null && given > lastRevision);
    const supersedes = last === undefined ? null : emitted(last);
    // `last` lies in the memory of `table`, which is ours alone.
    const row = last ?? newRow(resource);
    writeInstant(row, receivedAt, touchedAt);
    if (!isOlder && !isUnchanged) {
      writeInstant(row, revision, revisionAt);
      content.copy(row, contentAt);
    }
    revisions.put(key, last === undefined || table === undefined ? withRow(table, row, receivedAt) : table);
    if (isOlder) return drop('older_revision');
    if (isUnchanged) return drop('unchanged');
    return [toEvent(reading, { device, receivedAt, revision, content: hash, supersedes }, record)];
  };
}

/**
 * Notes what became of a version, for the `supersedes` of the next one. The priority is known only after the last
 * operator that can change it, which has to call this for every event.
 */
export function noteEmitted(revisions: Revisions, event: BiometricEvent): void {
  const resource = shortHash(event.resource_id);
  const key = bucketKey(event.device_type, event.user_id, resource);
  const table = revisions.get(key);
  const at = table === undefined ? -1 : findRow(table, rowBytes, resource);
  if (table === undefined || at === -1)
    throw new Error('an event came by whose version was not taken in before: wire newest-revision in front');
  uuidBytes(event.event_id).copy(table, at + eventIdAt);
  table[at + priorityAt] = 1 + priorities.indexOf(event.priority);
  revisions.put(key, table);
}

/** The row of a resource; undefined when there is none, or when it lies too far back. */
function rememberedRow(table: Buffer | undefined, resource: Buffer, receivedAt: number): Buffer | undefined {
  const at = table === undefined ? -1 : findRow(table, rowBytes, resource);
  const row = at === -1 ? undefined : table?.subarray(at, at + rowBytes);
  return row !== undefined && isRemembered(row, touchedAt, receivedAt) ? row : undefined;
}

/** The table with a new row, and without those that lie too far back. */
function withRow(before: Buffer | undefined, row: Buffer, receivedAt: number): Buffer {
  const table = before ?? Buffer.of(layout);
  for (let at = 1; at < table.length; at += rowBytes) {
    if (isRemembered(table, at + touchedAt, receivedAt)) continue;
    const remembered = rowsOf(table, rowBytes).filter((other) => isRemembered(other, touchedAt, receivedAt));
    return Buffer.concat([Buffer.of(layout), ...remembered, row]);
  }
  return Buffer.concat([table, row]);
}

function bucketKey(device: string, user: string, resource: Buffer): UserKey {
  return { device, user, part: Buffer.of((resource[0] ?? 0) >> 2) };
}

function newRow(resource: Buffer): Buffer {
  const row = Buffer.alloc(rowBytes);
  resource.copy(row);
  return row;
}

function emitted(row: Buffer): Superseded | null {
  const priority = priorities[(row[priorityAt] ?? 0) - 1];
  if (priority === undefined) return null;
  return { event_id: uuidText(row.subarray(eventIdAt, priorityAt)), priority };
}

function clamp(revision: number): number {
  return Math.min(Math.max(1, revision), maxInstant);
}
