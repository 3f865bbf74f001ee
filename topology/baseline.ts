import type { Baseline, BiometricEvent } from '../schemas/biometric-event.ts';
import { dayMs, parseInstant } from '../vendors/instant.ts';
import type { NewestVersion } from './events.ts';
import {
  hashBytes,
  isRemembered,
  packedTable,
  readInstant,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  writeInstant,
  type UserKey,
} from './packed.ts';
import type { Seeded } from './seed.ts';
import type { Start } from './start.ts';
import { napFlag, type Interval } from '../vendors/reading.ts';
import type { KeyValueStore, RecordContext } from '../streams/index.ts';

/*
 * One entry holds all values of a user, because every event reads them all. Rows are in the order they were put.
 *
 * A row: 0 day since 1970-01-01, signed, 4 bytes
 *        4 RMSSD in ms, double, 8 bytes
 *       12 hash of the resource id it came from, 8 bytes
 *       20 received_at of the record that put it, epoch ms, 6 bytes
 *       26 1 + the length of the main sleep that it was measured in, ms, 4 bytes; 0 for any other value
 *       30 when that sleep ended, epoch ms, 6 bytes
 *       36 raw offset of the record that put it, signed, 8 bytes; -1 where an earlier build put it
 *
 * Version 1 ended before the length of the sleep. It did not distinguish sleeps from other values, so its rows count as
 * other values.
 */
const hrvAt = 4;
const resourceAt = 12;
const putAt = 20;
const lengthAt = 26;
const endAt = 30;
const offsetAt = 36;
const rowBytes = 44;
const layoutVersion = 2;
const rowBytesBefore = 26;

const maxLengthMs = 2 ** 32 - 2;
const unknownOffset = -1n;

const noRows = Buffer.of(layoutVersion);
const noPart = Buffer.alloc(0);

/** Days that a baseline covers. */
const windowDays = 30;

/**
 * A baseline needs 30 days, but a vendor's backfill may bring years at once, and every night rewrites the whole entry,
 * which would grow without a bound. Beyond this bound the values that were put longest ago are dropped.
 */
const maxValues = 400;

/**
 * Nobody has more main sleeps in a day, even if several devices report each. Beyond this bound the shortest are dropped, in
 * whichever order they arrive, so that the sleeps of one day cannot take the place of all others.
 */
const maxSleepsOfDay = 8;

const packedValues = packedTable({
  version: layoutVersion,
  rowBytes,
  before: {
    version: 1,
    rowBytes: rowBytesBefore,
    upgrade: (old, at, row, to) => {
      old.copy(row, to, at, at + rowBytesBefore);
      row.writeBigInt64BE(unknownOffset, to + offsetAt);
    },
  },
});

/** The values of each user, as declared to the builder. */
export const baselinesStore = {
  key: userKey,
  value: packedValues,
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that adds to each event its user's own HRV of the 30 days before the event's day; null when there is none.
 * A day is the vendor's local_date, else the UTC day of the timestamp, and has one value: that of its longest main sleep
 * that measured one. All main sleeps of a day are stored, in any order, so that the next one counts when one is revised,
 * moved to another day, or retracted. Only a day without one has the value of another event, the one processed last. Naps
 * never count. The event's own resource never counts either, and its earlier value is removed first.
 */
export function withBaseline(
  { event, sleep, isResent }: NewestVersion,
  record: RecordContext,
  { baselines }: { readonly baselines: KeyValueStore<UserKey, Buffer> },
): BiometricEvent[] {
  const { device_type: vendor, user_id: user, received_at: receivedAt, hrv } = event;
  const key: UserKey = { vendor, user, part: noPart };
  const day = dayOf(event);
  const resource = shortHash(event.resource_id);
  const { table, hadOwn } = others(baselines.get(key) ?? noRows, resource, receivedAt);
  const baseline = baselineBefore(day, table);
  // Its value is already there, in the order in which it was put.
  if (isResent) return [{ ...event, baseline }];
  if (hrv !== null && !event.flags.includes(napFlag)) {
    const value = { day, hrv, resource, receivedAt, sleep, offset: record.offset };
    baselines.put(key, withValue(table, value));
  } else if (hadOwn) {
    if (table.length === noRows.length) baselines.delete(key);
    else baselines.put(key, table);
  }
  return [{ ...event, baseline }];
}

/**
 * The values of an entry that records before `start` put: see seed.ts.
 * @throws StreamsError INVARIANT for another layout.
 */
export function seededValues(value: Buffer, { offset, epochMs }: Start): Seeded {
  const table = Buffer.from(packedValues.deserialize(value));
  let uncertain = 0;
  let end = 1;
  for (let at = 1; at < table.length; at += rowBytes) {
    const put = table.readBigInt64BE(at + offsetAt);
    if (put >= offset) continue;
    if (put === unknownOffset && readInstant(table, at + putAt) >= epochMs) uncertain += 1;
    if (end !== at) table.copyWithin(end, at, at + rowBytes);
    end += rowBytes;
  }
  return { value: end === 1 ? undefined : table.subarray(0, end), uncertain };
}

/** Moves up the rows of other resources that have not expired, in place: nothing else uses the table. */
function others(
  table: Buffer,
  resource: Buffer,
  receivedAt: number,
): { readonly table: Buffer; readonly hadOwn: boolean } {
  const high = resource.readUInt32BE(0);
  const low = resource.readUInt32BE(4);
  let hadOwn = false;
  let end = 1;
  for (let at = 1; at < table.length; at += rowBytes) {
    if (!isRemembered(table, at + putAt, receivedAt)) continue;
    if (table.readUInt32BE(at + resourceAt) === high && table.readUInt32BE(at + resourceAt + 4) === low) {
      hadOwn = true;
      continue;
    }
    if (end !== at) table.copyWithin(end, at, at + rowBytes);
    end += rowBytes;
  }
  return { table: end === table.length ? table : table.subarray(0, end), hadOwn };
}

/** A value to store. */
interface Value {
  readonly day: number;
  readonly hrv: number;
  readonly resource: Buffer;
  readonly receivedAt: number;
  /** Null for a value of something other than a main sleep. */
  readonly sleep: Interval | null;
  readonly offset: bigint;
}

/** The table with one more row, and without the row that this one makes unnecessary. */
function withValue(table: Buffer, { day, hrv, resource, receivedAt, sleep, offset }: Value): Buffer {
  const at = table.length;
  const next = Buffer.allocUnsafe(at + rowBytes);
  table.copy(next);
  next.writeInt32BE(day, at);
  next.writeDoubleBE(hrv, at + hrvAt);
  resource.copy(next, at + resourceAt);
  writeInstant(next, receivedAt, at + putAt);
  const length = sleep === null ? 0 : 1 + Math.min(Math.max(0, sleep.endMs - sleep.startMs), maxLengthMs);
  next.writeUInt32BE(length, at + lengthAt);
  writeInstant(next, sleep?.endMs ?? 0, at + endAt);
  next.writeBigInt64BE(offset, at + offsetAt);
  const dispensable = dispensableRow(next, at);
  if (dispensable === -1) return next;
  next.copyWithin(dispensable, dispensable + rowBytes);
  return next.subarray(0, at);
}

/**
 * The row that the one at `put`, the last, makes unnecessary: the day's earlier other value, the shortest of too many
 * main sleeps of the day, or the oldest of too many rows; -1 when there is none.
 */
function dispensableRow(table: Buffer, put: number): number {
  const day = table.readInt32BE(put);
  const isSleep = isMainSleep(table, put);
  let shortest = put;
  let sleeps = 1;
  for (let at = 1; at < put; at += rowBytes) {
    if (table.readInt32BE(at) !== day || isMainSleep(table, at) !== isSleep) continue;
    if (!isSleep) return at;
    sleeps += 1;
    if (isLonger(table, shortest, at)) shortest = at;
  }
  if (sleeps > maxSleepsOfDay) return shortest;
  return table.length > maxValues * rowBytes + 1 ? 1 : -1;
}

function isMainSleep(table: Buffer, at: number): boolean {
  return table.readUInt32BE(at + lengthAt) !== 0;
}

/**
 * Whether the first of two rows is the longer main sleep. Of two equally long ones the one that ended later counts as
 * longer; if those are equal too, the choice is arbitrary but always the same. Any main sleep is longer than another
 * value.
 */
function isLonger(table: Buffer, one: number, other: number): boolean {
  const longer = table.readUInt32BE(one + lengthAt) - table.readUInt32BE(other + lengthAt);
  if (longer !== 0) return longer > 0;
  const later = readInstant(table, one + endAt) - readInstant(table, other + endAt);
  if (later !== 0) return later > 0;
  const [a, b] = [one + resourceAt, other + resourceAt];
  return table.compare(table, b, b + hashBytes, a, a + hashBytes) > 0;
}

/** The row that counts for each day of the window, the earliest day first; 0 for none. Used by one call at a time. */
const counting = new Int32Array(windowDays);

/** The baseline of an event of `day`. */
function baselineBefore(day: number, table: Buffer): Baseline | null {
  counting.fill(0);
  let nights = 0;
  for (let at = 1; at < table.length; at += rowBytes) {
    const place = table.readInt32BE(at) - day + windowDays;
    if (place < 0 || place >= windowDays) continue;
    const before = counting[place] ?? 0;
    if (before === 0) nights += 1;
    if (before === 0 || isLonger(table, at, before)) counting[place] = at;
  }
  if (nights === 0) return null;
  // Floating-point sums depend on their order, and the order of arrival must not change the result.
  let total = 0;
  for (const at of counting) if (at !== 0) total += table.readDoubleBE(at + hrvAt);
  const mean = total / nights;
  let squares = 0;
  for (const at of counting) if (at !== 0) squares += (table.readDoubleBE(at + hrvAt) - mean) ** 2;
  return { hrv_mean: mean, hrv_sd: nights === 1 ? 0 : Math.sqrt(squares / (nights - 1)), nights };
}

function dayOf({ local_date, timestamp }: BiometricEvent): number {
  const epochMs = parseInstant(local_date)?.epochMs ?? timestamp;
  return Math.floor(epochMs / dayMs);
}
