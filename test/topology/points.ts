/** Points of one user's day, and a store to add them to. */
import { StateStore } from '../../streams/store.ts';
import {
  addToDay,
  maxDayPoints,
  pointsStore,
  type DayTotals,
  type PointsStore,
} from '../../topology/stored-day.ts';
import type { DayPoints, Point } from '../../vendors/day-points.ts';
import { takenAt } from './exports.ts';
import { dayMs } from './support.ts';

export const today = Math.floor(takenAt / dayMs);
/** The start of the day by UTC, epoch ms. */
export const dayStart = today * dayMs;

/** A sample of steps, so many minutes after `takenAt`. */
export const aPoint = (minute: number, source = 'Watch'): Point => ({
  metric: 'steps',
  length: 'sample',
  isNamed: false,
  epochMs: takenAt + minute * 60_000,
  offsetMinutes: -420,
  source,
  value: minute / 3,
});

/** How the points of a delivery are added. */
interface Options {
  /** The record's timestamp. */
  readonly at?: number;
  readonly limit?: number;
  readonly charge?: (units: number) => void;
}

/** A store of points, and what to do with it. */
export function storeOfPoints(): {
  store: StateStore;
  /** Adds points that are received when the record is written. */
  add(points: readonly Point[], at?: number, limit?: number): DayTotals;
  send(delivery: Pick<DayPoints, 'points' | 'receivedAt' | 'isSinceLast'>, options?: Options): DayTotals;
} {
  const store = new StateStore({ ...pointsStore, name: 'points' } as never, 'c', 0);
  const send = (
    delivery: Pick<DayPoints, 'points' | 'receivedAt' | 'isSinceLast'>,
    { at = takenAt, limit = maxDayPoints, charge = () => undefined }: Options = {},
  ): DayTotals => {
    store.onRecord(at);
    const day = { vendor: 'healthkit', user_id: 'u', date: '2026-06-10', day: today, ...delivery };
    return addToDay(store as unknown as PointsStore, day, { timestamp: at, charge }, limit);
  };
  return {
    store,
    add: (points, at = takenAt, limit = maxDayPoints) =>
      send({ points, receivedAt: at, isSinceLast: false }, { at, limit }),
    send,
  };
}
