/**
 * What a promotion does to the state of a task. That state mixes two kinds: what the raw log says, which the new
 * generation has computed, and what readers were told, which is a fact about the past and is taken over from the
 * generation that told them.
 */
import type { BiometricEvent, Trigger } from '../schemas/biometric-event.ts';
import type { KeyValueStore } from '../streams/index.ts';
import { noMeasurements } from '../vendors/reading.ts';
import { hashBytes, shortHash, userKey, writeUuid, uuidBytes, type UserKey } from './packed.ts';
import { contentHashOf, deletionHash, outcomeHash } from './events.ts';
import { nameUuid } from './identity.ts';
import { findRow, insertRow, rowsOf, type PlacedRow, type Revisions, type Row } from './revisions.ts';
import {
  contentOf,
  isTold,
  noOutcome,
  noVersions,
  readOutcomes,
  readTold,
  readVersion,
  touchedAt,
  unknownOffset,
  unknownOutcome,
  versionOffset,
  withoutTold,
  writeTold,
  writeVersion,
  type Told,
} from './version-rows.ts';

/** The owner of a resource. */
export type Owner = Pick<UserKey, 'vendor' | 'user'>;

/** The store `alerts`. */
export type Alerts = KeyValueStore<UserKey, Buffer | null>;

/** An entry of a store, as in its changelog. */
export interface Entry {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly timestamp: number;
}

/** What was taken over of a row. */
export interface Taken {
  readonly isChanged: boolean;
  /** Whether readers have a newer version than ours, although ours is of a record that was recomputed. */
  readonly isOlder: boolean;
}

/**
 * Takes over the published columns of one row of the live generation. A resource that only the live generation has will
 * be removed if its version's record was recomputed.
 * @param row - of the live generation; its outcome may be unknown, because an earlier build wrote it.
 * @param startOffset - where the recomputation of its raw partition started; 0 if nothing that it lacks may stay.
 */
export function takeOverRow(revisions: Revisions, owner: Owner, row: Buffer, startOffset: bigint): Taken {
  const live = tableOf(row);
  const told = readTold(live, 1);
  if (told === null) return { isChanged: false, isOlder: false };
  const { told: toldOutcome } = readOutcomes(live, 1);
  const place = findRow(revisions, owner, row.subarray(0, hashBytes));
  if (place === undefined) {
    const kept =
      versionOffset(row) < startOffset ? live : withoutVersion(live, { ...told, outcome: toldOutcome });
    insertRow(revisions, owner, kept.subarray(1), touchedAt(row));
    return { isChanged: true, isOlder: false };
  }
  const { key, table, at } = place;
  const [own, theirs] = [readVersion(table, at), readVersion(live, 1)];
  // A version of the same record is as new, whatever revision it was given.
  const isOlder =
    own.offset < theirs.offset || (own.offset > theirs.offset && own.revision < theirs.revision);
  // Nothing of ours can replace it: from now on the row stands for what readers have.
  if (isOlder && startOffset > 0n && own.offset < startOffset) {
    revisions.put(
      key,
      writeTold(writeVersion(table, at, theirs), at, toldOutcome, { ...told, outcome: toldOutcome }),
    );
    return { isChanged: true, isOlder: false };
  }
  const ours = readOutcomes(table, at);
  const before = readTold(table, at);
  // A repeated step has taken it over before: what the guess was made from is gone.
  const isRepeated = toldOutcome === unknownOutcome && ours.told === unknownOutcome;
  if (isRepeated && before !== null && isSame(before, told)) return { isChanged: false, isOlder };
  const outcome = toldOutcomeOf(live, place);
  // A build that noted no outcomes noted no alerts either: the same event raised the same alerts.
  const isGuessed = toldOutcome === unknownOutcome && outcome !== unknownOutcome;
  const alert_ids = isGuessed && before !== null ? before.alert_ids : told.alert_ids;
  const taken = { ...told, alert_ids, outcome };
  if (ours.told === outcome && before !== null && isSame(before, taken)) return { isChanged: false, isOlder };
  revisions.put(key, writeTold(table, at, ours.version, taken));
  return { isChanged: true, isOlder };
}

/**
 * Makes a row of ours stand for the version that readers have, because nothing of ours will replace it. The next version
 * is compared with that.
 * @param row - of the live generation.
 * @returns whether readers still have that version.
 */
export function keepTold(revisions: Revisions, owner: Owner, row: Buffer): boolean {
  const place = findRow(revisions, owner, row.subarray(0, hashBytes));
  if (place === undefined) return false;
  const live = tableOf(row);
  const told = readTold(place.table, place.at);
  if (told === null || told.event_id !== readTold(live, 1)?.event_id) return false;
  const { told: outcome } = readOutcomes(place.table, place.at);
  const table = writeVersion(place.table, place.at, readVersion(live, 1));
  revisions.put(place.key, writeTold(table, place.at, outcome, { ...told, outcome }));
  return true;
}

/**
 * The row of a version that this generation does not have. It will be removed, unless it is a deletion. Any version that
 * arrives before the removal is newer, whatever its vendor says.
 */
function withoutVersion(table: Buffer, told: Told): Buffer {
  const { offset } = readVersion(table, 1);
  const isDeleted = told.outcome === deletedContent;
  const content = isDeleted ? deletedContent : noContent;
  const version = { revision: removedRevision, given: removedRevision, content, offset };
  return writeTold(writeVersion(table, 1, version), 1, isDeleted ? told.outcome : noOutcome, told);
}

/** The content of a deletion, as a row has it; without triggers it is also its outcome. */
const deletedContent = deletionHash.slice(0, 2 * hashBytes);
/** The content of no version at all. */
const noContent = '0'.repeat(2 * hashBytes);

/** An event whose outcome no build noted has our outcome if content and priority are the same. */
function guessedOutcome({ table, at }: Row, live: Buffer): string {
  const [ours, theirs] = [readTold(table, at), readTold(live, 1)];
  const isEqual =
    contentOf(table, at) === contentOf(live, 1) &&
    ours !== null &&
    theirs !== null &&
    ours.priority === theirs.priority;
  return isEqual ? readOutcomes(table, at).version : unknownOutcome;
}

function isSame(a: NonNullable<ReturnType<typeof readTold>>, b: typeof a): boolean {
  return a.event_id === b.event_id && a.priority === b.priority && a.alert_ids.join() === b.alert_ids.join();
}

/**
 * Notes that readers have nothing of the resources of an entry that the live generation does not know.
 * @returns whether anything changed.
 */
export function forgetUntold(
  revisions: Revisions,
  entry: Pick<Entry, 'key' | 'value'>,
  isKnown: (owner: Owner, row: Buffer) => boolean,
): boolean {
  const owner = userKey.deserialize(entry.key);
  let isChanged = false;
  for (const row of rowsOf(entry.value)) {
    if (isKnown(owner, row)) continue;
    const place = findRow(revisions, owner, row.subarray(0, hashBytes));
    if (place === undefined || !isTold(place.table, place.at)) continue;
    revisions.put(place.key, withoutTold(place.table, place.at));
    isChanged = true;
  }
  return isChanged;
}

/** Resources by how a candidate compares with what readers were told. */
export interface Differences {
  readonly changed: number;
  readonly added: number;
  readonly removed: number;
  readonly same: number;
  /** Different, but of a version whose record was not recomputed, so that no correction can be made. */
  readonly before_start: number;
}

/**
 * Compares the outcomes of a candidate's versions with what readers were told, in the entries of one partition of both
 * stores `revisions`.
 * @param processed - the offsets between which the candidate has processed a vendor's partition; results of the live
 *   generation for later records are left out.
 */
export function countDifferences(
  live: Iterable<Pick<Entry, 'key' | 'value'>>,
  ours: Iterable<Pick<Entry, 'key' | 'value'>>,
  processed: { readonly startOf: (vendor: string) => bigint; readonly endOf: (vendor: string) => bigint },
): Differences {
  const { startOf, endOf } = processed;
  const counts = { changed: 0, added: 0, removed: 0, same: 0, before_start: 0 };
  const told = new Map<string, Buffer>();
  for (const { key, value } of live) {
    const owner = userKey.deserialize(key);
    for (const row of rowsOf(value)) if (isTold(tableOf(row), 1)) told.set(resourceName(owner, row), row);
  }
  for (const { key, value } of ours) {
    const owner = userKey.deserialize(key);
    for (const row of rowsOf(value)) {
      const name = resourceName(owner, row);
      const before = told.get(name);
      told.delete(name);
      if (before !== undefined && versionOffset(before) >= endOf(owner.vendor)) continue;
      const table = tableOf(row);
      const outcome = before === undefined ? undefined : toldOutcomeOf(tableOf(before), { table, at: 1 });
      if (outcome === readOutcomes(table, 1).version) counts.same += 1;
      else if (versionOffset(row) < startOf(owner.vendor)) counts.before_start += 1;
      else if (before === undefined) counts.added += 1;
      else counts.changed += 1;
    }
  }
  for (const [name, row] of told) {
    const { vendor } = ownerIn(name);
    const offset = versionOffset(row);
    const isDeleted = readOutcomes(tableOf(row), 1).told === deletedContent;
    if (offset >= startOf(vendor) && offset < endOf(vendor) && !isDeleted) counts.removed += 1;
  }
  return counts;
}

/**
 * The outcome that readers were told, by a row of the live generation, for comparison with the version of a row of ours.
 */
function toldOutcomeOf(live: Buffer, ours: Row): string {
  const { told } = readOutcomes(live, 1);
  const own = readOutcomes(ours.table, ours.at);
  // The same event has the same outcome, although an earlier build noted none.
  if (own.version === unknownOutcome && own.told === unknownOutcome) {
    const [before, now] = [readTold(ours.table, ours.at), readTold(live, 1)];
    if (before !== null && now !== null && isSame(before, now)) return unknownOutcome;
  }
  return told === unknownOutcome ? guessedOutcome(ours, live) : told;
}

/** A table of one row, which is at 1. */
function tableOf(row: Buffer): Buffer {
  return Buffer.concat([noVersions, row]);
}

/** A name of a resource within a partition. @param row - or its resource's shortHash(). */
export function resourceName({ vendor, user }: Owner, row: Buffer): string {
  return `${vendor}\0${user}\0${row.toString('latin1', 0, hashBytes)}`;
}

/** The owner that resourceName() has named. */
export function ownerIn(resource: string): Owner {
  const at = resource.indexOf('\0');
  return { vendor: resource.slice(0, at), user: resource.slice(at + 1, -hashBytes - 1) };
}

/** How corrections are made. */
export interface CorrectionRules {
  /** When the generation became live, epoch ms. */
  readonly atMs: number;
  /** Whether a correction may announce an alert that readers have not been told of. */
  readonly announces: boolean;
}

/** Alerts of events that were received earlier than this before the promotion are no news. */
const announcedMs = 48 * 3_600_000;

/**
 * The event that corrects what readers have of a resource, if an event of the shadow topic still stands for the resource
 * and its outcome differs; otherwise undefined. Notes that readers have it.
 * @param event - what the recomputation made of a record before the cut.
 */
export function corrected(
  event: BiometricEvent,
  { revisions, alerts }: { readonly revisions: Revisions; readonly alerts: Alerts },
  rules: CorrectionRules,
): { readonly event: BiometricEvent; readonly correction: 'changed' | 'added' } | undefined {
  const place = rowToCorrect(event, revisions);
  if (place === undefined) return undefined;
  const { key, table, at } = place;
  const { version } = readOutcomes(table, at);
  const supersedes = readTold(table, at);
  const owner = ownerOf(event);
  const mayAnnounce = rules.announces && rules.atMs - event.received_at <= announcedMs;
  const triggers = event.triggers.map((trigger) => ({
    ...trigger,
    first: mayAnnounce && isFirst(alerts, owner, trigger),
  }));
  const { event_id, priority } = event;
  const alert_ids = [...new Set(triggers.map(({ alert_id }) => alert_id))];
  revisions.put(key, writeTold(table, at, version, { event_id, priority, alert_ids, outcome: version }));
  return {
    event: { ...event, supersedes, triggers },
    correction: supersedes === null ? 'added' : 'changed',
  };
}

/**
 * The row of an event that still stands for its resource, if readers have something else; undefined if not.
 * @param event - what the recomputation made of a record before the cut.
 */
function rowToCorrect(event: BiometricEvent, revisions: Revisions): PlacedRow | undefined {
  const place = findRow(revisions, ownerOf(event), shortHash(event.resource_id));
  if (place === undefined) return undefined;
  const { offset, revision } = readVersion(place.table, place.at);
  if (!isAt(event, offset) || revision !== event.revision) return undefined;
  const { version, told } = readOutcomes(place.table, place.at);
  return readTold(place.table, place.at) !== null && version === told ? undefined : place;
}

function ownerOf({ device_type: vendor, user_id: user }: BiometricEvent): Owner {
  return { vendor, user };
}

/** Whether an event may be of a version's record, whose offset an earlier build did not note. */
function isAt({ raw }: BiometricEvent, offset: bigint): boolean {
  return offset === unknownOffset || offset === BigInt(raw.offset);
}

/** Whether an alert was not raised before. Notes that it is raised now. */
function isFirst(alerts: Alerts, { vendor, user }: Owner, { alert_id }: Trigger): boolean {
  const part = Buffer.allocUnsafe(uuidBytes);
  writeUuid(part, alert_id, 0);
  const key: UserKey = { vendor, user, part };
  const first = alerts.get(key) === undefined;
  alerts.put(key, Buffer.alloc(0));
  return first;
}

/** A version that readers have and this generation does not. */
export interface Unsupported {
  readonly owner: Owner;
  readonly resource: Buffer;
  /** Of its raw record. */
  readonly offset: bigint;
  /** The event that readers have. */
  readonly eventId: string;
}

/**
 * The versions of an entry that will be removed.
 * @param startOf - where the recomputation of a vendor's partition started: what an earlier generation left to readers
 *   stays.
 */
export function unsupportedOf(
  { key, value }: Pick<Entry, 'key' | 'value'>,
  startOf: (vendor: string) => bigint,
): Unsupported[] {
  const { vendor, user } = userKey.deserialize(key);
  return rowsOf(value).flatMap((row) => {
    const table = tableOf(row);
    const told = readTold(table, 1);
    return told === null ||
      readOutcomes(table, 1).version !== noOutcome ||
      versionOffset(row) < startOf(vendor)
      ? []
      : [
          {
            owner: { vendor, user },
            resource: Buffer.from(row.subarray(0, hashBytes)),
            offset: versionOffset(row),
            eventId: told.event_id,
          },
        ];
  });
}

/**
 * An entry of a generation that a later one goes back to. Events that it left to readers without having a version for
 * them stay: they count as the version.
 */
export function settledVersions(value: Buffer): Buffer {
  const rows = rowsOf(value);
  if (rows.length === 0) return value;
  const settled = rows.map((row) => {
    const table = tableOf(row);
    const told = readTold(table, 1);
    const outcomes = readOutcomes(table, 1);
    return told === null || outcomes.version !== noOutcome
      ? row
      : writeTold(table, 1, outcomes.told, { ...told, outcome: outcomes.told }).subarray(1);
  });
  return Buffer.concat([noVersions, ...settled]);
}

/** A version from before the start of a recomputation that readers once had and no longer have. */
export interface Replaced {
  readonly owner: Owner;
  readonly resource: Buffer;
  /** Of its raw record. */
  readonly offset: bigint;
  readonly revision: number;
  /** Hash of its content, as hex digits. */
  readonly content: string;
  readonly outcome: string;
}

/**
 * The versions of an entry that readers get again, although their records are not recomputed: the way back undoes what a
 * generation has made of them since.
 */
export function replacedOf(
  { key, value }: Pick<Entry, 'key' | 'value'>,
  startOf: (vendor: string) => bigint,
): Replaced[] {
  const { vendor, user } = userKey.deserialize(key);
  return rowsOf(value).flatMap((row) => {
    const table = tableOf(row);
    const { version, told } = readOutcomes(table, 1);
    const { offset, revision, content } = readVersion(table, 1);
    if (version === noOutcome || version === told || offset >= startOf(vendor)) return [];
    if (readTold(table, 1) === null) return [];
    const resource = Buffer.from(row.subarray(0, hashBytes));
    return [{ owner: { vendor, user }, resource, offset, revision, content, outcome: version }];
  });
}

/** Whether an event is of a version. */
export function isEventOf(event: BiometricEvent, { offset, revision, content, outcome }: Replaced): boolean {
  if (!isAt(event, offset) || event.revision !== revision) return false;
  const own = contentHashOf(event).slice(0, content.length);
  return own === content && (outcome === unknownOutcome || outcomeHash(own, event) === outcome);
}

/** A removal has the lowest revision of its generation, so that any version to come is newer. */
const removedRevision = 1;

/**
 * The event that removes a version which readers have and this generation does not; undefined once another version stands for
 * the resource. Notes that readers have it.
 * @param published - the event that readers have.
 */
export function removed(
  published: BiometricEvent,
  revisions: Revisions,
  generation: number,
): BiometricEvent | undefined {
  const { device_type: vendor, user_id: user, resource_id } = published;
  const place = findRow(revisions, { vendor, user }, shortHash(resource_id));
  if (place === undefined) return undefined;
  const supersedes = readTold(place.table, place.at);
  const isGone = readOutcomes(place.table, place.at).version === noOutcome;
  if (!isGone || supersedes?.event_id !== published.event_id) return undefined;
  const event: BiometricEvent = {
    ...published,
    ...deletion,
    event_id: nameUuid('event', vendor, user, resource_id, String(removedRevision), deletionHash),
    baseline: null,
    triggers: [],
    priority: 'NORMAL',
    revision: removedRevision,
    supersedes,
    generation,
  };
  const version = { revision: removedRevision, given: removedRevision, content: deletedContent };
  const offset = BigInt(published.raw.offset);
  const table = writeVersion(place.table, place.at, { ...version, offset });
  const outcome = deletedContent;
  const told = { event_id: event.event_id, priority: event.priority, alert_ids: [], outcome };
  revisions.put(place.key, writeTold(table, place.at, outcome, told));
  return event;
}

const deletion = { ...noMeasurements, deleted: true, flags: [] };
