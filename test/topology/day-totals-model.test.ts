import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maxWholeDay } from '../../topology/stored-day.ts';
import type { Point, PointLength } from '../../vendors/day-points.ts';
import { aPoint, dayStart, storeOfPoints } from './points.ts';

/** A delivery of steps. */
interface Delivery {
  readonly receivedAt: number;
  readonly isSinceLast: boolean;
  readonly isNamed: boolean;
  readonly length: PointLength;
  readonly offsetMinutes: number;
  readonly points: readonly { readonly second: number; readonly value: number; readonly source: string }[];
}

/** What the model knows of a piece. */
interface Piece {
  readonly start: number;
  readonly source: string;
  readonly value: number;
  /** Its place in the order of arrival; what is late comes before everything. */
  readonly arrived: number;
  readonly isAlone: boolean;
  readonly offsetMinutes: number;
}

const ms: Readonly<Record<PointLength, number>> = {
  sample: 1,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

/** The start of the local interval in which an instant lies. */
function startOf(length: PointLength, epochMs: number, offsetMinutes: number): number {
  const shift = offsetMinutes * 60_000;
  return Math.floor((epochMs + shift) / ms[length]) * ms[length] - shift;
}

/** The points of a delivery as a normalizer gives them: no two of one interval, of two values the larger. */
function pointsOf({ length, offsetMinutes, isNamed, points }: Delivery): Point[] {
  const all = new Map<string, Point>();
  for (const { second, value, source } of points) {
    const epochMs = startOf(length, dayStart + second * 1_000, offsetMinutes);
    const of = length === 'sample' ? source : '';
    const key = `${epochMs} ${of}`;
    const larger = Math.max(value, all.get(key)?.value ?? 0);
    all.set(key, { ...aPoint(0), length, isNamed, epochMs, offsetMinutes, source: of, value: larger });
  }
  return [...all.values()];
}

/** The policy, word by word and slowly: every piece is kept, and each total is made anew. */
class Model {
  readonly #pieces: Readonly<Record<PointLength, Map<string, Piece>>> = {
    sample: new Map(),
    minute: new Map(),
    hour: new Map(),
    day: new Map(),
  };
  #newest = 0;
  #arrivals = 0;

  add(delivery: Delivery): void {
    this.#arrivals += 1;
    const isLate = delivery.receivedAt < this.#newest;
    for (const { length, epochMs: start, source, value } of pointsOf(delivery)) {
      const pieces = this.#pieces[length];
      const key = length === 'day' ? 'day' : `${start} ${source}`;
      const known = pieces.get(key);
      if (known !== undefined && (isLate || (delivery.isSinceLast && value <= known.value))) continue;
      const isAlone = delivery.isNamed && !delivery.isSinceLast && !isLate;
      const arrived = isLate ? 0 : this.#arrivals;
      pieces.set(key, { start, source, value, arrived, isAlone, offsetMinutes: delivery.offsetMinutes });
    }
    this.#newest = Math.max(this.#newest, delivery.receivedAt);
  }

  total(): number | undefined {
    const [day] = this.#pieces.day.values();
    const inside = [...this.#all('sample'), ...this.#all('minute'), ...this.#all('hour')];
    const hours = new Set(inside.map((piece) => startOf('hour', piece.start, piece.offsetMinutes)));
    const sum = [...hours].sort((a, b) => a - b).reduce((total, hour) => total + this.hour(hour), 0);
    if (day === undefined) return hours.size === 0 ? undefined : sum;
    return day.isAlone && inside.every(({ arrived }) => arrived < day.arrived)
      ? day.value
      : Math.max(day.value, sum);
  }

  hour(start: number): number {
    const isIn = (piece: Piece): boolean => startOf('hour', piece.start, piece.offsetMinutes) === start;
    const [bucket] = this.#all('hour').filter(isIn);
    const minutes = this.#all('minute').filter(isIn);
    const samples = this.#all('sample').filter(isIn);
    const loose = samples.filter(
      ({ start: at }) => !minutes.some((minute) => at - (at % 60_000) === minute.start),
    );
    const ofMinutes = minutes.reduce((sum, { value }) => sum + value, 0);
    const parts = ofMinutes + this.#competing(loose);
    if (bucket === undefined) return parts;
    const isAfterAll = [...minutes, ...samples].every(({ arrived }) => arrived < bucket.arrived);
    return bucket.isAlone && isAfterAll ? bucket.value : Math.max(bucket.value, parts);
  }

  #competing(samples: readonly Piece[]): number {
    if (samples.some(({ source }) => source.includes('|'))) {
      const instants = new Set(samples.map(({ start }) => start));
      return [...instants].reduce(
        (sum, at) => sum + Math.max(...samples.filter(({ start }) => start === at).map(({ value }) => value)),
        0,
      );
    }
    const sources = new Set(samples.map(({ source }) => source));
    return [...sources].reduce(
      (largest, of) =>
        Math.max(
          largest,
          samples.filter(({ source }) => source === of).reduce((sum, { value }) => sum + value, 0),
        ),
      0,
    );
  }

  #all(length: PointLength): Piece[] {
    return [...this.#pieces[length].values()];
  }
}

// Whole numbers: sums of them do not depend on their order.
const point = fc.record({
  // Few instants, so that intervals meet.
  second: fc.oneof(
    fc.integer({ min: 0, max: 5 }).map((hour) => hour * 3_600),
    fc.integer({ min: 0, max: 200 }).map((minute) => minute * 60),
    fc.integer({ min: 0, max: 12_000 }),
  ),
  value: fc.integer({ min: 0, max: 1_000 }),
  source: fc.constantFrom('Watch', 'Phone', 'Watch|Phone'),
});
const delivery: fc.Arbitrary<Delivery> = fc.record({
  receivedAt: fc.integer({ min: 1, max: 6 }).map((n) => dayStart + n * 1_000),
  isSinceLast: fc.boolean(),
  isNamed: fc.boolean(),
  length: fc.constantFrom<PointLength[]>('sample', 'minute', 'hour', 'day'),
  offsetMinutes: fc.constantFrom(0, 0, 0, 330, 345),
  points: fc.array(point, { minLength: 1, maxLength: 12 }),
});

/**
 * Deliveries of a person at home, or of a traveler whose buckets never count alone: a sample that is told again with another
 * offset leaves an hour whose bucket has stopped counting alone on its account, and the model would let it begin again.
 */
const deliveries = fc.oneof(
  fc
    .tuple(fc.constantFrom(0, 330, 345), fc.array(delivery, { minLength: 1, maxLength: 8 }))
    .map(([offsetMinutes, all]) => all.map((one): Delivery => ({ ...one, offsetMinutes }))),
  fc
    .array(delivery, { minLength: 1, maxLength: 8 })
    .map((all) => all.map((one): Delivery => ({ ...one, isNamed: false }))),
);

/** So many other points that the day is split from the beginning, in the same hours and around them. */
const dense: Point[] = Array.from({ length: maxWholeDay + 1 }, (_, n) => ({
  ...aPoint(0),
  metric: 'distance_m',
  epochMs: dayStart + n * 30_000,
  offsetMinutes: 0,
  value: 1,
}));

for (const kind of ['whole', 'split'] as const) {
  test(`case 5: a ${kind} day has the totals of the policy, for deliveries of every length in any order`, () => {
    fc.assert(
      fc.property(deliveries, (all) => {
        const { store, send } = storeOfPoints();
        if (kind === 'split') send({ points: dense, receivedAt: 1, isSinceLast: false });
        const model = new Model();
        for (const one of all) {
          model.add(one);
          const { totals } = send({ ...one, points: pointsOf(one) });
          store.foldIn();
          assert.equal(totals.steps, model.total());
        }
      }),
      { numRuns: kind === 'whole' ? 3_000 : 500 },
    );
  });
}

test('deliveries of one length that only grow end in the same totals, in whatever order they arrive', () => {
  const hour = fc.integer({ min: 0, max: 23 });
  const cells = fc.uniqueArray(fc.record({ hour, source: fc.constantFrom('Watch', 'Phone') }), {
    minLength: 10,
    maxLength: 10,
    selector: (cell) => `${cell.hour} ${cell.source}`,
  });
  const growth = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 10, maxLength: 10 });
  const growing = fc.record({
    length: fc.constantFrom<PointLength[]>('sample', 'minute', 'hour', 'day'),
    isNamed: fc.boolean(),
    cells,
    growths: fc.array(growth, { minLength: 2, maxLength: 4 }),
  });
  fc.assert(
    fc.property(growing, fc.infiniteStream(fc.nat()), ({ length, isNamed, cells: all, growths }, random) => {
      const values = all.map(() => 0);
      const deliveries = growths.map((by, n): Delivery => {
        const points = all.map((cell, place) => {
          values[place] = (values[place] ?? 0) + (by[place] ?? 0);
          return { second: cell.hour * 3_600 + 7, value: values[place], source: cell.source };
        });
        const receivedAt = dayStart + n + 1;
        return { receivedAt, isSinceLast: false, isNamed, length, offsetMinutes: 0, points };
      });
      const totalAfter = (some: readonly Delivery[]): number | undefined => {
        const { send } = storeOfPoints();
        return some.map((one) => send({ ...one, points: pointsOf(one) })).at(-1)?.totals.steps;
      };
      const keys = deliveries.map((one) => ({ one, key: random.next().value as number }));
      const shuffled = keys.sort((x, y) => x.key - y.key).map(({ one }) => one);
      assert.equal(totalAfter(shuffled), totalAfter(deliveries));
    }),
    { numRuns: 500 },
  );
});

// A minute's bucket stands for the samples in it, whatever it is; and a sample that is told with another offset moves to
// another hour, where it may not count.
const atHome = delivery.map((one): Delivery => ({ ...one, offsetMinutes: 0 }));
const noMinutes = atHome.filter(({ length }) => length !== 'minute');

test('what is late replaces nothing, and what covers only the time since the last sync lowers nothing', () => {
  fc.assert(
    fc.property(
      fc.array(atHome, { minLength: 1, maxLength: 5 }),
      noMinutes,
      fc.boolean(),
      (before, last, isLate) => {
        const { send } = storeOfPoints();
        const known = before.map((one) => send({ ...one, points: pointsOf(one) })).at(-1)?.totals.steps ?? 0;
        const receivedAt = isLate ? 1 : dayStart + 10_000;
        const { totals } = send({ ...last, points: pointsOf(last), receivedAt, isSinceLast: !isLate });
        assert.ok((totals.steps ?? 0) >= known, `${totals.steps} after ${known}`);
      },
    ),
    { numRuns: 1_000 },
  );
});

test('any mixture of lengths comes to no more than the larger of the day’s bucket and its hours, hour by hour', () => {
  fc.assert(
    fc.property(fc.array(delivery, { minLength: 1, maxLength: 8 }), (deliveries) => {
      const { send } = storeOfPoints();
      const buckets = new Map<number, number>();
      const parts = new Map<string, number>();
      let day = 0;
      let total = 0;
      for (const one of deliveries) {
        const points = pointsOf(one);
        for (const { length, epochMs, offsetMinutes, source, value } of points) {
          const hour = startOf('hour', epochMs, offsetMinutes ?? 0);
          // The largest that each piece ever was.
          const key = `${hour} ${length} ${epochMs} ${source}`;
          if (length === 'day') day = Math.max(day, value);
          else if (length === 'hour') buckets.set(hour, Math.max(value, buckets.get(hour) ?? 0));
          else parts.set(key, Math.max(value, parts.get(key) ?? 0));
        }
        total = send({ ...one, points }).totals.steps ?? 0;
      }
      const inside = new Map<number, number>();
      for (const [key, value] of parts) {
        const hour = Number(key.split(' ')[0]);
        inside.set(hour, (inside.get(hour) ?? 0) + value);
      }
      const hours = new Set([...buckets.keys(), ...inside.keys()]);
      const most = [...hours].reduce(
        (sum, hour) => sum + Math.max(buckets.get(hour) ?? 0, inside.get(hour) ?? 0),
        0,
      );
      assert.ok(total <= Math.max(day, most), `${total} of at most ${Math.max(day, most)}`);
    }),
    { numRuns: 1_000 },
  );
});
