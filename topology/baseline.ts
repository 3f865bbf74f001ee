import type { Baseline, BiometricEvent } from '../schemas/biometric-event.ts';
import { parseInstant } from './instant.ts';
import {
  dayMs,
  hashBytes,
  isRemembered,
  packedRows,
  rememberedMs,
  shortHash,
  sweptAfterMs,
  userKey,
  writeInstant,
  type UserKey,
} from './packed.ts';
import type { KeyValueStore, RecordContext } from './streams/index.ts';

/*
 * All days of a user in one entry, because every event reads them all. The rows stand in the order they were put.
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

/** Days that a baseline covers. */
const windowDays = 30;

/**
 * A baseline needs 30 days, but a vendor's backfill may bring years at once, and the entry is written anew by every
 * night: without a bound it would grow with each of them. So the days that were put longest ago go first.
 */
const maxDays = 400;

/** The nights of each user, as declared to the builder. */
export const baselinesStore = {
  key: userKey(0),
  value: packedRows(1, rowBytes),
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that gives each event its user's own HRV of the 30 days before the event's day; null when there is
 * none. A day is the vendor's local_date, else the UTC day of the timestamp, and has one value: that of the event
 * processed last. The event's own resource never counts, and its earlier value goes: so a night that was revised,
 * moved to another day, or retracted leaves nothing behind.
 */
export function withBaseline(
  event: BiometricEvent,
  _record: RecordContext,
  { baselines }: { readonly baselines: KeyValueStore<UserKey, readonly Buffer[]> },
): BiometricEvent[] {
  const { device_type: device, user_id: user, received_at: receivedAt, hrv } = event;
  const key: UserKey = { device, user, part: Buffer.alloc(0) };
  const resource = shortHash(event.resource_id);
  const day = dayOf(event);
  const remembered = (baselines.get(key) ?? []).filter((row) => isRemembered(row, putAt, receivedAt));
  const others = remembered.filter(
    (row) => !row.subarray(resourceAt, resourceAt + hashBytes).equals(resource),
  );
  if (hrv !== null) {
    const rows = [
      ...others.filter((row) => row.readInt32BE(0) !== day),
      newRow(day, hrv, resource, receivedAt),
    ];
    baselines.put(key, rows.slice(-maxDays));
  } else if (others.length < remembered.length) {
    if (others.length === 0) baselines.delete(key);
    else baselines.put(key, others);
  }
  return [{ ...event, baseline: baselineOf(others, day) }];
}

function baselineOf(rows: readonly Buffer[], day: number): Baseline | null {
  // Floating point sums depend on their order, and the order of arrival must not show in the result.
  const values = rows
    .map((row) => ({ day: row.readInt32BE(0), hrv: row.readDoubleBE(hrvAt) }))
    .filter((night) => night.day >= day - windowDays && night.day < day)
    .sort((a, b) => a.day - b.day)
    .map((night) => night.hrv);
  const nights = values.length;
  if (nights === 0) return null;
  const mean = sum(values) / nights;
  const squares = sum(values.map((hrv) => (hrv - mean) ** 2));
  return { hrv_mean: mean, hrv_sd: nights === 1 ? 0 : Math.sqrt(squares / (nights - 1)), nights };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function dayOf({ local_date, timestamp }: BiometricEvent): number {
  const epochMs = parseInstant(local_date)?.epochMs ?? timestamp;
  return Math.floor(epochMs / dayMs);
}

function newRow(day: number, hrv: number, resource: Buffer, receivedAt: number): Buffer {
  const row = Buffer.alloc(rowBytes);
  row.writeInt32BE(day, 0);
  row.writeDoubleBE(hrv, hrvAt);
  resource.copy(row, resourceAt);
  writeInstant(row, receivedAt, putAt);
  return row;
}
