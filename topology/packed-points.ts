import { pointMetrics, type Point, type PointMetric } from '../vendors/day-points.ts';
import { hashBytes, shortHash } from './packed.ts';

/** The values of one metric and one source by instant, in ms since 24 hours before their day's start by UTC. */
export interface Series {
  readonly metric: PointMetric;
  /** The short hash of the source's name. */
  readonly source: Buffer;
  readonly values: Map<number, number>;
}

/** Points of a day, or of an hour of it, by metric and source. */
export type Points = Map<string, Series>;

/** A point that is ready to be added. */
export interface PlacedPoint {
  readonly metric: PointMetric;
  readonly at: number;
  readonly source: Buffer;
  readonly key: string;
  readonly value: number;
}

/** Places the points of a payload in their day, which begins at `startMs` by UTC. */
export function placed(points: readonly Point[], startMs: number): PlacedPoint[] {
  // A payload has a few sources and many points: each source is hashed once.
  const hashes = new Map<string, { hash: Buffer; text: string }>();
  return points.map(({ metric, epochMs, source, value }) => {
    let hashed = hashes.get(source);
    if (hashed === undefined) {
      const hash = shortHash(source);
      hashes.set(source, (hashed = { hash, text: hash.toString('latin1') }));
    }
    const key = `${metric} ${hashed.text}`;
    return { metric, at: epochMs - startMs, source: hashed.hash, key, value };
  });
}

/** Points that are stored, one by one. */
export function* placedOf(points: Points): Generator<PlacedPoint> {
  for (const [key, { metric, source, values }] of points)
    for (const [at, value] of values) yield { metric, at, source, key, value };
}

/** Adds points. One that is there already takes the new value. */
export function addPoints(points: Points, added: Iterable<PlacedPoint>): void {
  for (const { metric, at, source, key, value } of added) {
    let series = points.get(key);
    if (series === undefined) points.set(key, (series = { metric, source, values: new Map() }));
    series.values.set(at, value);
  }
}

export function countOf(points: Points): number {
  let count = 0;
  for (const { values } of points.values()) count += values.size;
  return count;
}

/** Removes the latest `count` points. */
export function dropLatest(points: Points, count: number): void {
  const all = [...points].flatMap(([key, { values }]) => [...values.keys()].map((at) => ({ at, key })));
  all.sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));
  for (const { at, key } of all.slice(all.length - count)) points.get(key)?.values.delete(at);
  for (const [key, { values }] of points) if (values.size === 0) points.delete(key);
}

/** What points make of each metric: their sum, or the latest value of one that is no amount. */
export type Totals = Partial<Record<PointMetric, number>>;

/** The metrics of which the latest value counts. The others are amounts. */
export function isLatest(metric: PointMetric): boolean {
  return metric === 'resting_heart_rate';
}

/**
 * The totals of points: at each instant the largest value of all sources counts, because a watch and a phone count the
 * same steps. Sums are made in the order of the instants: floating-point sums depend on it, and the order of arrival must
 * not matter.
 */
export function totalsOf(points: Points): Totals {
  const totals: Totals = {};
  for (const [metric, values] of largest(points)) {
    const instants = Float64Array.from(values.keys()).sort();
    if (isLatest(metric)) {
      totals[metric] = values.get(instants.at(-1) ?? 0) ?? 0;
      continue;
    }
    let sum = 0;
    for (const at of instants) sum += values.get(at) ?? 0;
    totals[metric] = sum;
  }
  return totals;
}

/** By metric, the largest value of all sources at each instant. */
function largest(points: Points): Map<PointMetric, ReadonlyMap<number, number>> {
  const all = new Map<PointMetric, Map<number, number>>();
  const copied = new Set<PointMetric>();
  for (const { metric, values } of points.values()) {
    const before = all.get(metric);
    if (before === undefined) {
      all.set(metric, values);
      continue;
    }
    // The first source's own values must not change.
    const merged = copied.has(metric) ? before : new Map(before);
    copied.add(metric);
    all.set(metric, merged);
    for (const [at, value] of values) merged.set(at, Math.max(value, merged.get(at) ?? value));
  }
  return all;
}

/*
 * A series: 0 place of the metric in `pointMetrics`, 1 byte
 *           1 hash of the source, 8 bytes
 *           9 count of points, 4 bytes
 *          13 each point: instant, 4 bytes, and value, double, 8 bytes
 */
const seriesBytes = 1 + hashBytes + 4;
export const pointBytes = 12;

/** The points as bytes, behind `headBytes` bytes that the caller fills. */
export function packPoints(points: Points, headBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(headBytes + points.size * seriesBytes + countOf(points) * pointBytes);
  let at = headBytes;
  for (const { metric, source, values } of points.values()) {
    bytes[at] = pointMetrics.indexOf(metric);
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
}

/** Reads points from `start` on; undefined when the bytes are none. */
export function unpackPoints(bytes: Buffer, start: number): Points | undefined {
  const points: Points = new Map();
  let at = start;
  while (at < bytes.length) {
    const metric = pointMetrics[bytes[at] ?? 0];
    if (metric === undefined || at + seriesBytes > bytes.length) return undefined;
    const source = Buffer.from(bytes.subarray(at + 1, at + 1 + hashBytes));
    const count = bytes.readUInt32BE(at + 1 + hashBytes);
    at += seriesBytes;
    const end = at + count * pointBytes;
    if (end > bytes.length) return undefined;
    const values = new Map<number, number>();
    for (; at < end; at += pointBytes) values.set(bytes.readUInt32BE(at), bytes.readDoubleBE(at + 4));
    points.set(`${metric} ${source.toString('latin1')}`, { metric, source, values });
  }
  return points;
}
