import type { DayPoints, Point, PointLength, PointMetric } from '../day-points.ts';
import { dayMs } from '../instant.ts';
import { beginOf, lengthOf, type Aggregation, type MetricLength } from './lengths.ts';
import type { LocalInstant } from './local-instant.ts';

/** The points of one metric of a payload, in its order. */
interface Series {
  readonly instants: LocalInstant[];
  readonly sources: string[];
  /** Null where one is out of range: its date still shows what the points are amounts of. */
  readonly values: (number | null)[];
}

/** Collects the points of a payload. What they are amounts of is known when all of a metric have been seen. */
export class PointsOfPayload {
  readonly #series = new Map<PointMetric, Series>();

  /** @param value - null where it is out of range. */
  add(metric: PointMetric, instant: LocalInstant, source: string, value: number | null): void {
    const series = known(this.#series, metric, () => ({ instants: [], sources: [], values: [] }));
    series.instants.push(instant);
    series.sources.push(source);
    series.values.push(value);
  }

  /** The points by day, the earliest first: of one that occurs twice, the larger. */
  days(aggregation: Aggregation, of: Omit<DayPoints, 'date' | 'day' | 'points'>): DayPoints[] {
    const days = new Map<number, PointsOfDay>();
    for (const [metric, series] of this.#series) place(metric, series, aggregation, days);
    return [...days]
      .sort(([a], [b]) => a - b)
      .map(([day, { date, points }]) => ({ ...of, date, day, points }));
  }
}

interface PointsOfDay {
  readonly date: string;
  readonly points: Point[];
}

/** A heart rate is no amount of anything, whatever the delivery names. */
const heartRate: MetricLength = { length: 'sample', isNamed: false };

/** Adds the points of a metric to their days. */
function place(
  metric: PointMetric,
  { instants, sources, values }: Series,
  aggregation: Aggregation,
  days: Map<number, PointsOfDay>,
): void {
  const isAmount = metric !== 'resting_heart_rate';
  const { length, isNamed } = isAmount ? lengthOf(instants, aggregation) : heartRate;
  // Buckets are merged over the devices already, and all devices measure the same heart.
  const hasSources = isAmount && length === 'sample';
  const placed = new Map<number, LargestPoints>();
  let largest: LargestPoints | undefined;
  for (const [at, instant] of instants.entries()) {
    const value = values[at] ?? null;
    if (value === null) continue;
    // The next point is of the same day, nearly always.
    if (largest?.day !== instant.day) {
      largest = placed.get(instant.day);
      if (largest === undefined) {
        const { points } = known(days, instant.day, () => ({ date: instant.date, points: [] }));
        placed.set(instant.day, (largest = new LargestPoints(points, instant.day, length)));
      }
    }
    largest.put({
      metric,
      length,
      epochMs: beginOf(instant, length),
      offsetMinutes: instant.offsetMinutes,
      source: hasSources ? (sources[at] ?? '') : '',
      value,
      isNamed,
    });
  }
}

/** The value of a key, made where there is none. */
function known<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}

/** The points of one metric of one day, each once. */
class LargestPoints {
  readonly day: number;
  readonly #points: Point[];
  /** Where the metric's own begin among the points of the day. */
  readonly #first: number;
  readonly #isWholeDay: boolean;
  #latestMs = -Infinity;
  /** Positions by source and instant: only where the points are not in the order of time, which costs a tenth more. */
  #places: Map<string, Map<number, number>> | undefined;

  constructor(points: Point[], day: number, length: PointLength) {
    this.day = day;
    this.#points = points;
    this.#first = points.length;
    this.#isWholeDay = length === 'day';
  }

  put(point: Point): void {
    if (this.#places === undefined) {
      const isNew = this.#isWholeDay ? this.#points.length === this.#first : point.epochMs > this.#latestMs;
      if (isNew) {
        this.#latestMs = point.epochMs;
        this.#points.push(point);
        return;
      }
      this.#places = new Map();
      for (const [at, earlier] of this.#points.entries())
        if (at >= this.#first) this.#placeOf(this.#places, earlier, at);
    }
    const place = this.#placeOf(this.#places, point, this.#points.length);
    const other = this.#points[place];
    if (other === undefined) this.#points.push(point);
    else if (isLarger(point, other)) this.#points[place] = point;
  }

  /** The position of a point; of a new one, `next`. */
  #placeOf(places: Map<string, Map<number, number>>, { source, epochMs }: Point, next: number): number {
    const ofSource = known(places, source, () => new Map<number, number>());
    // Days are told apart by the calendar, whatever the offset of their midnight. Small integers make fast keys.
    return known(ofSource, this.#isWholeDay ? 0 : epochMs - (this.day - 1) * dayMs, () => next);
  }
}

/** Of equal values the one with the larger offset counts, so that the order of the points changes nothing. */
function isLarger(point: Point, than: Point): boolean {
  if (point.value !== than.value) return point.value > than.value;
  return (point.offsetMinutes ?? -Infinity) > (than.offsetMinutes ?? -Infinity);
}
