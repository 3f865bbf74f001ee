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
    let series = this.#series.get(metric);
    if (series === undefined) this.#series.set(metric, (series = { instants: [], sources: [], values: [] }));
    series.instants.push(instant);
    series.sources.push(source);
    series.values.push(value);
  }

  /** The points by day, the earliest first: of one that occurs twice, the larger. */
  days(aggregation: Aggregation, of: Omit<DayPoints, 'date' | 'day' | 'points'>): DayPoints[] {
    const days = new Map<number, { readonly date: string; readonly points: Point[] }>();
    for (const [metric, { instants, sources, values }] of this.#series) {
      // A heart rate is no amount, and all devices measure the same heart.
      const isAmount = metric !== 'resting_heart_rate';
      const { length, isNamed }: MetricLength = isAmount
        ? lengthOf(instants, aggregation)
        : { length: 'sample', isNamed: false };
      const hasSources = isAmount && length === 'sample';
      const placed = new Map<number, LargestPoints>();
      let [number, largest]: [number, LargestPoints | undefined] = [NaN, undefined];
      for (const [at, instant] of instants.entries()) {
        const value = values[at] ?? null;
        if (value === null) continue;
        // Points are in the order of time, nearly always.
        if (instant.day !== number || largest === undefined) {
          number = instant.day;
          largest = placed.get(number);
          if (largest === undefined) {
            let day = days.get(number);
            if (day === undefined) days.set(number, (day = { date: instant.date, points: [] }));
            placed.set(number, (largest = new LargestPoints(day.points, number, length)));
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
    return [...days]
      .sort(([a], [b]) => a - b)
      .map(([day, { date, points }]) => ({ ...of, date, day, points }));
  }
}

/** The points of one metric of one day, each once. */
class LargestPoints {
  readonly #points: Point[];
  /** Where this metric's begin among the points of the day. */
  readonly #first: number;
  readonly #start: number;
  readonly #isOneInterval: boolean;
  #latest = -Infinity;
  /** Positions among the points, by source and instant; only where the points are not in the order of time. */
  #places: Map<string, Map<number, number>> | undefined;

  constructor(points: Point[], day: number, length: PointLength) {
    this.#points = points;
    this.#first = points.length;
    // Milliseconds since then are small integers, which make fast keys.
    this.#start = (day - 1) * dayMs;
    this.#isOneInterval = length === 'day';
  }

  put(point: Point): void {
    if (this.#places === undefined) {
      // A point after all others is none of them.
      if (point.epochMs > this.#latest && !(this.#isOneInterval && this.#points.length > this.#first)) {
        this.#latest = point.epochMs;
        this.#points.push(point);
        return;
      }
      this.#places = new Map();
      for (let at = this.#first; at < this.#points.length; at += 1) {
        const known = this.#points[at];
        if (known !== undefined) this.#place(known, this.#places, at);
      }
    }
    const place = this.#place(point, this.#places, this.#points.length);
    const known = this.#points[place];
    if (known === undefined) this.#points.push(point);
    else if (isLarger(point, known)) this.#points[place] = point;
  }

  /** Where the point is; `at` where it is new. */
  #place({ source, epochMs }: Point, bySource: Map<string, Map<number, number>>, at: number): number {
    let places = bySource.get(source);
    if (places === undefined) bySource.set(source, (places = new Map<number, number>()));
    // Days are told apart by the calendar, whatever the offset of their midnight.
    const key = this.#isOneInterval ? 0 : epochMs - this.#start;
    const place = places.get(key) ?? at;
    if (place === at) places.set(key, at);
    return place;
  }
}

/** Of equal values that of the earlier day counts, so that the order of the points changes nothing. */
function isLarger(point: Point, than: Point): boolean {
  if (point.value !== than.value) return point.value > than.value;
  return (point.offsetMinutes ?? -Infinity) > (than.offsetMinutes ?? -Infinity);
}
