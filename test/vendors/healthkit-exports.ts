/** What the normalizer of HealthKit makes of an export, before any total. */
import assert from 'node:assert/strict';
import type { DayPoints, Point } from '../../vendors/day-points.ts';
import { normalizeHealthkit } from '../../vendors/healthkit/normalize.ts';
import { isDropped, isPartly, isRejected } from '../../vendors/outcome.ts';
import type { Reading } from '../../vendors/reading.ts';

export const noon = '2026-06-10 12:00:00 -0700';

/** What came of an export. */
export interface ReadExport {
  readonly readings: readonly Reading[];
  readonly days: readonly DayPoints[];
  /** Of the days, one after the other. */
  readonly points: readonly Point[];
  /** The whole order, `hrv:…`, `workout:…` or a date. */
  readonly order: readonly string[];
  /** `CODE: message` of a dead letter, `dropped: reason`, or null where all could be read. */
  readonly why: string | null;
}

/** Reads the `data` of an export that arrived with these request headers. */
export function readData(data: object, headers: Readonly<Record<string, string>> = {}): ReadExport {
  const outcome = normalizeHealthkit(
    { data },
    {
      vendor: 'healthkit',
      key: 'hk-user-7',
      receivedAt: 1_781_121_600_000,
      scheme: 'bearer',
      isEnvelope: false,
      isRetry: false,
      headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
    },
  );
  if (isDropped(outcome)) return { ...nothing, why: `dropped: ${outcome.reason}` };
  if (isRejected(outcome)) return { ...nothing, why: `${outcome.code}: ${outcome.message}` };
  const values = isPartly(outcome) ? outcome.values : outcome;
  assert.ok(values.length > 0, 'no values, and no reason');
  const days = values.filter((value): value is DayPoints => 'points' in value);
  return {
    readings: values.filter((value): value is Reading => !('points' in value)),
    days,
    points: days.flatMap(({ points }) => points),
    order: values.map((value) => ('points' in value ? value.date : value.resource_id)),
    why: isPartly(outcome) ? `${outcome.code}: ${outcome.message}` : null,
  };
}

const nothing = { readings: [], days: [], points: [], order: [] };

/** Reads metrics that arrived with the header `automation-aggregation`, or without it. */
export function readMetrics(metrics: readonly unknown[], aggregation?: string): ReadExport {
  return readData({ metrics }, aggregation === undefined ? {} : { 'automation-aggregation': aggregation });
}

/** The only value of a list. */
export function single<T>(list: readonly T[]): T {
  const [one, ...more] = list;
  assert.ok(one !== undefined && more.length === 0, `expected one value, not ${list.length}`);
  return one;
}
