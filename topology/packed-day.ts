import { StreamsError, type Serde } from '../streams/index.ts';
import { pointMetrics, type Point, type PointMetric } from '../vendors/day-points.ts';
import { dayMs } from '../vendors/instant.ts';
import { hashBytes, shortHash } from './packed.ts';

/** The values of one metric and one source by instant, in ms since 24 hours before the day's start by UTC. */
export interface Series {
  readonly metric: PointMetric;
  /** The short hash of the source's name. */
  readonly source: Buffer;
  readonly values: Map<number, number>;
}

/** All points seen of a day. */
export interface Day {
  /** The earliest point whose zone is known: `at` as in a series. It determines when the day began. */
  readonly zoned: { readonly at: number; readonly offsetMinutes: number } | null;
  /** More points arrived than are kept. */
  readonly isCut: boolean;
  readonly series: ReadonlyMap<string, Series>;
}

export const noPoints: Day = { zoned: null, isCut: false, series: new Map() };

/**
 * The most points kept of a day: one per second makes 86,400 of a metric. Even if each has its own source, the entry
 * stays below the 4 MiB that a record of a changelog may have.
 */
export const maxDayPoints = 150_000;

/**
 * Adds the `points` of another payload to the day. A point sent again replaces itself. Beyond `limit` points the latest
 * are dropped, so that the result depends on which points arrived, not on their order.
 */
export function withPoints(before: Day, day: number, points: readonly Point[], limit = maxDayPoints): Day {
  const series = new Map(
    [...before.series].map(([key, one]) => [key, { ...one, values: new Map(one.values) }]),
  );
  let { zoned } = before;
  const startMs = (day - 1) * dayMs;
  // A payload has a few sources and many points: each source is hashed once.
  const hashes = new Map<string, { hash: Buffer; text: string }>();
  for (const { metric, epochMs, offsetMinutes, source, value } of points) {
    const at = epochMs - startMs;
    let hashed = hashes.get(source);
    if (hashed === undefined) {
      const hash = shortHash(source);
      hashes.set(source, (hashed = { hash, text: hash.toString('latin1') }));
    }
    const key = `${metric} ${hashed.text}`;
    let entry = series.get(key);
    if (entry === undefined) series.set(key, (entry = { metric, source: hashed.hash, values: new Map() }));
    entry.values.set(at, value);
    if (offsetMinutes !== null && isEarlier(at, offsetMinutes, zoned)) zoned = { at, offsetMinutes };
  }
  const isCut = cut(series, limit) || before.isCut;
  return { zoned, isCut, series };
}

// Of two offsets at one instant the smaller wins, so that the order of arrival does not matter.
function isEarlier(at: number, offsetMinutes: number, than: Day['zoned']): boolean {
  return than === null || at < than.at || (at === than.at && offsetMinutes < than.offsetMinutes);
}

function cut(series: Map<string, Series>, limit: number): boolean {
  let count = 0;
  for (const { values } of series.values()) count += values.size;
  if (count <= limit) return false;
  const all = [...series].flatMap(([key, { values }]) => [...values.keys()].map((at) => ({ at, key })));
  all.sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
  for (const { at, key } of all.slice(limit)) series.get(key)?.values.delete(at);
  for (const [key, { values }] of series) if (values.size === 0) series.delete(key);
  return true;
}

/*
 * A day: 0 version of the layout, 1 byte
 *        1 1 where points were cut, else 0, 1 byte
 *        2 instant of the earliest zoned point, 4 bytes; all ones while there is none
 *        6 its offset, minutes, signed, 2 bytes
 *        8 the series, one after the other:
 *          0 place of the metric in `pointMetrics`, 1 byte
 *          1 hash of the source, 8 bytes
 *          9 count of points, 4 bytes
 *         13 each point: instant, 4 bytes, and value, double, 8 bytes
 */
const version = 1;
const headBytes = 8;
const seriesBytes = 1 + hashBytes + 4;
const pointBytes = 12;
const noInstant = 2 ** 32 - 1;

/** @throws StreamsError INVARIANT for another layout: as a bad record it would dead-letter every record to come. */
export const packedDay: Serde<Day> = {
  serialize: ({ zoned, isCut, series }) => {
    let length = headBytes;
    for (const { values } of series.values()) length += seriesBytes + values.size * pointBytes;
    const bytes = Buffer.alloc(length);
    bytes.writeUInt8(version, 0);
    bytes.writeUInt8(isCut ? 1 : 0, 1);
    bytes.writeUInt32BE(zoned?.at ?? noInstant, 2);
    bytes.writeInt16BE(zoned?.offsetMinutes ?? 0, 6);
    let at = headBytes;
    for (const { metric, source, values } of series.values()) {
      bytes.writeUInt8(pointMetrics.indexOf(metric), at);
      source.copy(bytes, at + 1, 0, hashBytes);
      bytes.writeUInt32BE(values.size, at + 1 + hashBytes);
      at += seriesBytes;
      for (const [instant, value] of values) {
        bytes.writeUInt32BE(instant, at);
        bytes.writeDoubleBE(value, at + 4);
        at += pointBytes;
      }
    }
    return bytes;
  },
  deserialize: (bytes) => {
    if (bytes?.[0] !== version) throw otherLayout(bytes?.[0]);
    const series = new Map<string, Series>();
    let at = headBytes;
    while (at < bytes.length) {
      const metric = pointMetrics[bytes.readUInt8(at)];
      if (metric === undefined) throw otherLayout(version);
      const source = Buffer.from(bytes.subarray(at + 1, at + 1 + hashBytes));
      const count = bytes.readUInt32BE(at + 1 + hashBytes);
      const values = new Map<number, number>();
      at += seriesBytes;
      for (const end = at + count * pointBytes; at < end; at += pointBytes)
        values.set(bytes.readUInt32BE(at), bytes.readDoubleBE(at + 4));
      series.set(`${metric} ${source.toString('latin1')}`, { metric, source, values });
    }
    const first = bytes.readUInt32BE(2);
    const zoned = first === noInstant ? null : { at: first, offsetMinutes: bytes.readInt16BE(6) };
    return { zoned, isCut: bytes[1] === 1, series };
  },
};

function otherLayout(found: number | undefined): StreamsError {
  return new StreamsError(
    'INVARIANT',
    `the store of points holds a value of layout ${found ?? 'none'} that this build cannot read: run the build that wrote it`,
  );
}
