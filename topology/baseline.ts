import type { Baseline, BiometricEvent } from '../schemas/biometric-event.ts';
import { dayMs, parseInstant } from '../vendors/instant.ts';
import {
  isRemembered,
  packedTable,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  writeInstant,
  type UserKey,
} from './packed.ts';
import type { KeyValueStore, RecordContext } from '../streams/index.ts';

/*
 * One entry holds all days of a user, because every event reads them all. Rows are in the order they were put.
 *
 * A row: 0 day since 1970-01-01, signed, 4 bytes
 *        4 RMSSD in ms, double, 8 bytes
 *       12 hash of the resource id it came from, 8 bytes
 *       20 received_at of the record that put it, epoch ms, 6 bytes
 */
const hrvAt = 4;
const resourceAt = 12;
const putAt = 20;
const rowBytes = 26;
const layoutVersion = 1;

const noPart = Buffer.alloc(0);

/** Days that a baseline covers. */
const windowDays = 30;

/**
 * A baseline needs 30 days, but a vendor's backfill may bring years at once, and every night rewrites the whole entry:
 * without a bound it would grow with each. Beyond this bound the days that were put longest ago are dropped.
 */
const maxDays = 400;

/** The nights of each user, as declared to the builder. */
export const baselinesStore = {
  key: userKey,
  value: packedTable(layoutVersion, rowBytes),
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that adds to each event its user's own HRV of the 30 days before the event's day; null when there is none.
 * A day is the vendor's local_date, else the UTC day of the timestamp, and has one value: that of the event processed
 * last. The event's own resource never counts, and its earlier value is removed, so that a night that was revised, moved
 * to another day, or retracted leaves nothing behind.
 */
export function withBaseline(
  event: BiometricEvent,
  _record: RecordContext,
  { baselines }: { readonly baselines: KeyValueStore<UserKey, Buffer> },
): BiometricEvent[] {
  const { device_type: vendor, user_id: user, received_at: receivedAt, hrv } = event;
  const key: UserKey = { vendor, user, part: noPart };
  const day = dayOf(event);
  const resource = shortHash(event.resource_id);
  // Nothing else uses the table, so the remaining rows move up in place.
  const table = baselines.get(key);
  const isOwn = table === undefined ? () => false : ownRows(table, resource);
  const nights: Night[] = [];
  let end = 1;
  let hadOwn = false;
  for (let at = 1; table !== undefined && at < table.length; at += rowBytes) {
    if (!isRemembered(table, at + putAt, receivedAt)) continue;
    if (isOwn(at)) {
      hadOwn = true;
      continue;
    }
    const of = table.readInt32BE(at);
    if (of >= day - windowDays && of < day) nights.push({ day: of, hrv: table.readDoubleBE(at + hrvAt) });
    if (hrv !== null && of === day) continue;
    if (end !== at) table.copyWithin(end, at, at + rowBytes);
    end += rowBytes;
  }
  if (hrv !== null) {
    const kept = Math.max(1, end - (maxDays - 1) * rowBytes);
    const at = 1 + end - kept;
    const next = Buffer.allocUnsafe(at + rowBytes);
    next[0] = layoutVersion;
    table?.copy(next, 1, kept, end);
    next.writeInt32BE(day, at);
    next.writeDoubleBE(hrv, at + hrvAt);
    resource.copy(next, at + resourceAt);
    writeInstant(next, receivedAt, at + putAt);
    baselines.put(key, next);
  } else if (hadOwn && table !== undefined) {
    if (end === 1) baselines.delete(key);
    else baselines.put(key, table.subarray(0, end));
  }
  return [{ ...event, baseline: baselineOf(nights) }];
}

/** Tells the rows of a resource from the others, in one pass over the table. */
function ownRows(table: Buffer, resource: Buffer): (at: number) => boolean {
  const own = new Set<number>();
  for (let at = table.indexOf(resource, 1); at !== -1; at = table.indexOf(resource, at + 1))
    if ((at - resourceAt - 1) % rowBytes === 0) own.add(at - resourceAt);
  return own.size === 0 ? () => false : (at) => own.has(at);
}

interface Night {
  readonly day: number;
  readonly hrv: number;
}

function baselineOf(nights: Night[]): Baseline | null {
  const { length } = nights;
  if (length === 0) return null;
  // Floating-point sums depend on their order, and the order of arrival must not change the result.
  const values = nights.sort((a, b) => a.day - b.day).map(({ hrv }) => hrv);
  const mean = sum(values) / length;
  const squares = sum(values.map((hrv) => (hrv - mean) ** 2));
  return { hrv_mean: mean, hrv_sd: length === 1 ? 0 : Math.sqrt(squares / (length - 1)), nights: length };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function dayOf({ local_date, timestamp }: BiometricEvent): number {
  const epochMs = parseInstant(local_date)?.epochMs ?? timestamp;
  return Math.floor(epochMs / dayMs);
}
