/**
 * Reads the entries of days as builds up to 2026-11-28 wrote them. Those took each point for an instant of one device,
 * and kept the resting heart rate among the points.
 */
import { pointMetrics, type PointLength, type PointMetric } from '../vendors/day-points.ts';
import { dayMs } from '../vendors/instant.ts';
import { noHead, otherLayout, type DayHead } from './packed-day.ts';
import {
  phaseOf,
  pointBytes,
  seriesOf,
  noSource,
  type DayBucket,
  type AdditiveMetric,
  type Points,
} from './packed-points.ts';
import { hashBytes } from './packed.ts';

/** The values of one metric and one source by instant. */
interface Instants {
  readonly metric: PointMetric;
  readonly source: Buffer;
  readonly values: ReadonlyMap<number, number>;
}

/*
 * The entry of a day: 0 version, 1 byte: 1 with its points, 2 with its hours
 *                     1 1 where points were cut, else 0, 1 byte
 *                     2 instant of the earliest zoned point, 4 bytes; all ones for none
 *                     6 its offset, minutes, signed, 2 bytes
 *                     8 version 1: the points
 *                       version 2: its hours: minute at which it begins, 2 bytes; count of points, 4 bytes; a bit for each
 *                       metric, 1 byte; their totals, 8 bytes each
 *
 * The entry of an hour: 0 version 3, 1 byte, then its points
 *
 * Points: place of the metric in `pointMetrics`, 1 byte; hash of the source, 8 bytes; count, 4 bytes; each point as today
 */
const headBytes = 8;
const seriesBytes = 1 + hashBytes + 4;

/** A day of the earlier layout in the present one, and which of its hours had entries of their own. */
export interface ReadInstants {
  readonly head: DayHead;
  readonly points: Points;
  /** The minutes at which these hours begin. */
  readonly hours: readonly number[];
}

/**
 * Reads a day of the earlier layout.
 * @param hourAt - the entry of the hour that begins at a minute; undefined when only the totals of a divided day matter.
 * @throws StreamsError INVARIANT for any other layout.
 */
export function unpackInstants(
  bytes: Buffer,
  receivedAt: number,
  hourAt: ((minute: number) => Buffer) | undefined,
): ReadInstants {
  const [version] = bytes;
  if ((version !== 1 && version !== 2) || bytes.length < headBytes) throw otherLayout(version);
  const first = bytes.readUInt32BE(2);
  const zoned = first === 2 ** 32 - 1 ? null : { at: first, offsetMinutes: bytes.readInt16BE(6) };
  const head: DayHead = { ...noHead, receivedAt, zoned, isCut: bytes[1] === 1 };
  if (version === 1) return { ...read(seriesAt(bytes, headBytes), head), hours: [] };
  const { minutes, totals } = summaries(bytes);
  if (hourAt === undefined) {
    const buckets = new Map([...totals].map(([metric, value]) => [metric, { value, isAlone: false }]));
    return { head: { ...head, buckets }, points: new Map(), hours: minutes };
  }
  return {
    ...read(
      minutes.flatMap((minute) => seriesAt(hourAt(minute), 1)),
      head,
    ),
    hours: minutes,
  };
}

/** What the entry of a divided day says of its hours. */
function summaries(bytes: Buffer): { minutes: number[]; totals: Map<AdditiveMetric, number> } {
  const minutes: number[] = [];
  const totals = new Map<AdditiveMetric, number>();
  for (let at = headBytes; at < bytes.length;) {
    minutes.push(bytes.readUInt16BE(at));
    const metrics = bytes[at + 6] ?? 0;
    at += 7;
    for (const [place, metric] of pointMetrics.entries()) {
      if ((metrics & (1 << place)) === 0) continue;
      // The resting heart rate of such a day no longer matters.
      if (metric !== 'resting_heart_rate')
        totals.set(metric, (totals.get(metric) ?? 0) + bytes.readDoubleBE(at));
      at += 8;
    }
  }
  return { minutes, totals };
}

function seriesAt(bytes: Buffer, start: number): Instants[] {
  const all: Instants[] = [];
  let at = start;
  while (at < bytes.length) {
    const metric = pointMetrics[bytes[at] ?? 0];
    if (metric === undefined) throw otherLayout(bytes[0]);
    const source = Buffer.from(bytes.subarray(at + 1, at + 1 + hashBytes));
    const end = at + seriesBytes + bytes.readUInt32BE(at + 1 + hashBytes) * pointBytes;
    const values = new Map<number, number>();
    for (at += seriesBytes; at < end; at += pointBytes)
      values.set(bytes.readUInt32BE(at), bytes.readDoubleBE(at + 4));
    all.push({ metric, source, values });
  }
  return all;
}

function read(all: readonly Instants[], head: DayHead): Omit<ReadInstants, 'hours'> {
  const offsetMinutes = head.zoned?.offsetMinutes ?? 0;
  const lengths = lengthsOf(all, offsetMinutes);
  const points: Points = new Map();
  const buckets = new Map<AdditiveMetric, DayBucket>();
  let { resting } = head;
  for (const { metric, source, values } of all) {
    for (const [at, value] of values) {
      if (metric === 'resting_heart_rate') {
        if (resting === null || at > resting.at || (at === resting.at && value > resting.value))
          resting = { at, value };
        continue;
      }
      const length = lengths.get(`${metric} ${source.toString('latin1')}`) ?? 'sample';
      if (length === 'day') {
        buckets.set(metric, { value: Math.max(value, buckets.get(metric)?.value ?? 0), isAlone: false });
        continue;
      }
      const phase = phaseOf(offsetMinutes);
      const of = { metric, length, phase, source: length === 'sample' ? source : noSource, isMerged: false };
      const series = seriesOf(points, of);
      series.values.set(at, Math.max(value, series.values.get(at) ?? 0));
    }
  }
  return { head: { ...head, resting, buckets }, points };
}

/** The points of each metric and source, as one export without a header would be read. */
function lengthsOf(all: readonly Instants[], offsetMinutes: number): Map<string, PointLength> {
  const instants = new Map<string, number[]>();
  for (const { metric, source, values } of all) {
    const key = `${metric} ${source.toString('latin1')}`;
    const known = instants.get(key);
    if (known === undefined) instants.set(key, [...values.keys()]);
    else for (const at of values.keys()) known.push(at);
  }
  return new Map(
    [...instants].map(([key, ats]) => {
      const isOn = (ms: number): boolean => ats.every((at) => (at + offsetMinutes * 60_000) % ms === 0);
      return [key, isOn(dayMs) ? 'day' : isOn(3_600_000) ? 'hour' : isOn(60_000) ? 'minute' : 'sample'];
    }),
  );
}
