/** Random histories through promotions at random cuts, with crashes at random steps, against a run that never had the fault. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneOf } from '../../streams/random.ts';
import { reject, seededRandom } from '../../streams/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import type { Reading } from '../../vendors/reading.ts';
import { oura, whoop } from '../vendors/payloads.ts';
import { exportOf, metric } from './exports.ts';
import {
  checkReaders,
  GenerationsDriver,
  outcomeOf,
  versionsOf,
  type Build,
  type Webhook,
} from './generations.ts';
import { eachReading, type Plant } from './planted.ts';

const histories = 20;
const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;
const now = Date.now();
const values = [20, 24, 30, 38, 50, 90] as const;
type Random = () => number;

/** A webhook of a vendor: versions in any order, repetitions, retractions, totals of a day, bodies that nobody can read. */
function webhook(random: Random, receivedAt: number): Webhook {
  const hrv = oneOf(random, values);
  const kind = oneOf(random, [
    'simple',
    'simple',
    'recovery',
    'recovery',
    'retraction',
    'steps',
    'broken',
  ] as const);
  const n = Math.floor(random() * 3);
  switch (kind) {
    case 'simple': {
      const timestamp = new Date(now - 5 * hourMs - n * hourMs).toISOString();
      const user = oneOf(random, ['u0', 'u1']);
      return {
        device: 'oura',
        user,
        receivedAt,
        body: { user_id: user, timestamp, hrv_data: { rmssd: hrv } },
      };
    }
    case 'recovery': {
      const score = { hrv_rmssd_milli: hrv, recovery_score: 60, resting_heart_rate: 50 };
      const version = oneOf(random, ['08', '09', '10', '11']);
      const body = whoop('recovery', {
        sleep_id: `s${n}`,
        created_at: new Date(now - n * dayMs).toISOString(),
        updated_at: `2025-07-30T${version}:00:00Z`,
        score,
      });
      return { device: 'whoop', user: '10129', receivedAt, body };
    }
    case 'retraction': {
      const notification = { event_type: 'delete', data_type: 'sleep', object_id: `o${n}`, user_id: 'u0' };
      return { device: 'oura', user: 'u0', receivedAt, body: { ...oura('sleep', {}), notification } };
    }
    case 'steps': {
      const date = new Date(now - n * dayMs).toISOString().slice(0, 10);
      const at = `${date} 0${Math.floor(random() * 4)}:00:00 +0000`;
      const body = exportOf(metric('step_count', 'count', [at, 10 * hrv, 'Watch']));
      return { device: 'healthkit', user: 'hk', receivedAt, body };
    }
    case 'broken':
      return {
        device: oneOf(random, ['oura', 'whoop'] as const),
        user: 'u0',
        receivedAt,
        body: '{"user_id":',
      };
  }
}

/** Webhooks by the clocks of several ingresses, which do not agree. */
function* webhooks(random: Random, fromMs: number): Generator<Webhook> {
  for (let at = fromMs; ; at += Math.floor(random() * 4 * minuteMs) - minuteMs) yield webhook(random, at);
}

function take(source: Iterator<Webhook>, count: number): Webhook[] {
  return Array.from({ length: count }, () => source.next().value as Webhook);
}

const scaled = (factor: number): Plant =>
  eachReading((one) => (one.hrv === null ? one : { ...one, hrv: one.hrv * factor }));
/** By the content of a record, so that of two versions of a resource one may be affected. */
const where =
  (isAffected: (one: Reading) => boolean, instead: Plant): Plant =>
  (answer, record) => {
    const isIt = Symbol.iterator in answer && [...answer].some((one) => isAffected(one as Reading));
    return isIt ? instead(answer, record) : answer;
  };

const withoutUrgent = defaultRules.filter(({ type }) => type !== 'URGENT_INTERVENTION');
const rulesOnly: readonly [Build, ...Build[]] = [{}, { rules: withoutUrgent }, { rules: [] }];
/** Builds that make as much of every record as any other. */
const complete: readonly [Build, ...Build[]] = [
  {},
  {},
  { plant: scaled(10) },
  { plant: scaled(0.1) },
  { rules: withoutUrgent },
  { rules: [] },
];
const builds: readonly [Build, ...Build[]] = [
  ...complete,
  {
    plant: where(
      ({ hrv }) => hrv === 20 || hrv === 90,
      () => [],
    ),
  },
  {
    plant: where(
      ({ hrv }) => hrv === 24 || hrv === 50,
      () => reject('PLANTED', 'planted'),
    ),
  },
  {
    plant: where(
      ({ user_id }) => user_id === 'u1' || user_id === '10129',
      () => [],
    ),
  },
  {
    plant: where(
      ({ user_id }) => user_id === 'u0',
      () => reject('PLANTED', 'planted'),
    ),
  },
];

/** Checks that readers have what a build that was there from the beginning would have given them. */
async function checkAll(driver: GenerationsDriver, build: Build, seed: number): Promise<void> {
  try {
    checkReaders(
      driver.read().map(({ event }) => event),
      await driver.faultless(build),
    );
  } catch (error) {
    throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
  }
}

test('readers end with what a build without the fault would have given them, wherever the cut is and whatever crashes', async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    const random = seededRandom(seed);
    const source = webhooks(random, now - 3 * hourMs);
    const some = (): Webhook[] => take(source, Math.floor(random() * 25));
    const driver = new GenerationsDriver(oneOf(random, builds));
    driver.append(...some());
    await driver.settle(seed);
    let build: Build = {};
    const promotions = random() < 0.3 ? 2 : 1;
    for (let generation = 1; generation <= promotions; generation += 1) {
      build = oneOf(random, builds);
      driver.append(...some());
      if (random() < 0.5) await driver.settle(seed);
      driver.candidate(build);
      driver.append(...some());
      await driver.processSome(Math.floor(random() * 40));
      if (random() < 0.5) await driver.settle(seed);
      driver.append(...some());
      await driver.processSome(Math.floor(random() * 20));
      driver.promote({ removeUnreadable: true });
      if (random() < 0.5) driver.append(...some());
      if (random() < 0.3) await driver.takeOver();
      driver.append(...some());
      await driver.settle(seed);
      assert.ok(driver.corrections, `seed ${seed}`);
    }
    await checkAll(driver, build, seed);
  }
});

test('a promotion of the same build corrects nothing, wherever the raw topics begin by then', async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    const random = seededRandom(seed);
    const source = webhooks(random, now - 3 * hourMs);
    const build = oneOf(random, rulesOnly);
    const driver = new GenerationsDriver(build);
    driver.append(...take(source, 60));
    await driver.settle(seed);
    // Rows of a build before do not say which alerts were raised by what the log has lost.
    if (random() < 0.3) driver.downgrade(oneOf(random, [1, 3] as const));
    else
      for (const device of ['oura', 'whoop', 'healthkit'] as const)
        driver.deleteBefore(device, Math.floor(random() * 12));
    driver.candidate(build);
    driver.append(...take(source, 10));
    await driver.processSome(5);
    await driver.settle(seed);
    const { changed, added, removed } = await driver.differences();
    assert.deepEqual({ changed, added, removed }, { changed: 0, added: 0, removed: 0 }, `seed ${seed}`);
    driver.promote({ removeUnreadable: true });
    driver.append(...take(source, 10));
    await driver.settle(seed);
    assert.deepEqual(driver.corrected(), [], `seed ${seed}`);
    await checkAll(driver, build, seed);
  }
});

test('behind the beginning of a log every version is corrected whose record it still has, and no other', async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    const random = seededRandom(seed);
    const driver = new GenerationsDriver(oneOf(random, complete));
    driver.append(...take(webhooks(random, now - 3 * hourMs), 60));
    await driver.settle(seed);
    const before = versionsOf(driver.read().map(({ event }) => event));
    const lows = new Map<string, number>();
    for (const device of ['oura', 'whoop'] as const) {
      lows.set(device, Math.floor(random() * 12));
      driver.deleteBefore(device, lows.get(device) ?? 0);
    }
    const build = oneOf(random, complete);
    driver.candidate(build);
    await driver.settle(seed);
    driver.promote({ removeUnreadable: true });
    await driver.settle(seed);
    const after = versionsOf(driver.read().map(({ event }) => event));
    const expected = versionsOf(await driver.faultless(build));
    for (const [name, versions] of after) {
      const newest = versions.at(-1)!;
      const wanted = expected.get(name)?.at(-1);
      const told = before.get(name)?.at(-1);
      const isCovered = [wanted, told].every(
        (one) => one === undefined || one.raw.offset >= (lows.get(one.device_type) ?? 0),
      );
      const sides = [wanted, ...(isCovered ? [] : [told])].map((one) => JSON.stringify(outcomeOf(one)));
      assert.ok(
        sides.includes(JSON.stringify(outcomeOf(newest))),
        `seed ${seed}, ${name}: ${JSON.stringify(outcomeOf(newest))} is none of ${JSON.stringify(sides)}`,
      );
    }
  }
});

test('the way back gives readers what the build of before would have, wherever the cuts are and whatever crashes', async () => {
  for (let seed = 1; seed <= histories; seed += 1) {
    const random = seededRandom(seed);
    const source = webhooks(random, now - 3 * hourMs);
    const some = (): Webhook[] => take(source, Math.floor(random() * 25));
    const build = oneOf(random, builds);
    const driver = new GenerationsDriver(build);
    driver.append(...some());
    await driver.settle(seed);
    if (random() < 0.5)
      for (const device of ['oura', 'whoop', 'healthkit'] as const)
        driver.deleteBefore(device, Math.floor(random() * 8));
    const worse = 1 + Number(random() < 0.3);
    for (let generation = 1; generation <= worse; generation += 1) {
      driver.candidate(oneOf(random, builds));
      driver.append(...some());
      await driver.settle(seed);
      driver.promote({ removeUnreadable: true });
      driver.append(...some());
      if (random() < 0.7) await driver.settle(seed);
      else await driver.takeOver();
    }
    driver.append(...some());
    driver.candidate(build, { from: 0 });
    await driver.processSome(Math.floor(random() * 20));
    if (random() < 0.5) await driver.settle(seed);
    driver.promote({ removeUnreadable: true });
    driver.append(...some());
    if (random() < 0.3) await driver.takeOver();
    await driver.settle(seed);
    assert.ok(driver.corrections, `seed ${seed}`);
    await checkAll(driver, build, seed);
  }
});
