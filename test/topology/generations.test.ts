/** What a promotion does to readers: the experiments that rule out simpler ways, and those at its edges. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reject } from '../../streams/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { oura, night, whoop } from '../vendors/payloads.ts';
import { exportOf, metric } from './exports.ts';
import { checkReaders, GenerationsDriver, versionsOf, type Webhook } from './generations.ts';
import { eachReading, type Plant } from './planted.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const now = Date.now();
const receivedAt = now - 3 * hourMs;

/** The simple format, which gives no revision. */
function reading(hrv: number, { user = 'u', slot = 0, at = receivedAt } = {}): Webhook {
  const timestamp = new Date(now - 5 * hourMs - slot * hourMs).toISOString();
  return {
    device: 'oura',
    user,
    body: { user_id: user, timestamp, hrv_data: { rmssd: hrv } },
    receivedAt: at,
  };
}

/** A WHOOP recovery, of the version of a time of 2025-07-30. */
function recovery(version: string, hrv: number, at = receivedAt): Webhook {
  const score = { hrv_rmssd_milli: hrv, recovery_score: 60, resting_heart_rate: 50 };
  const body = whoop('recovery', { updated_at: `2025-07-30T${version}:00Z`, score });
  return { device: 'whoop', user: '10129', body, receivedAt: at };
}

function steps(count: number, { hour = '08', days = 0, at = receivedAt } = {}): Webhook {
  const date = new Date(now - days * dayMs).toISOString().slice(0, 10);
  const body = exportOf(metric('step_count', 'count', [`${date} ${hour}:00:00 +0000`, count, 'Watch']));
  return { device: 'healthkit', user: 'u', body, receivedAt: at };
}

/** HRV in another unit. */
const tenfold: Plant = eachReading((one) => (one.hrv === null ? one : { ...one, hrv: one.hrv * 10 }));
/** HRV as if the wearer were in danger. */
const tenth: Plant = eachReading((one) => (one.hrv === null ? one : { ...one, hrv: one.hrv / 10 }));
const withoutUrgent = defaultRules.filter(({ type }) => type !== 'URGENT_INTERVENTION');
const alertIds = (events: readonly BiometricEvent[]): string[] => [
  ...new Set(events.flatMap(({ triggers }) => triggers.map(({ alert_id }) => alert_id))),
];
const events = (driver: GenerationsDriver): BiometricEvent[] => driver.read().map(({ event }) => event);
const none = { changed: 0, added: 0, removed: 0, unreadable: 0 };

/** Has the candidate catch up, become live and correct all there is. */
async function promoted(
  driver: GenerationsDriver,
  options: Parameters<GenerationsDriver['promote']>[0] = {},
): Promise<void> {
  await driver.settle();
  driver.promote(options);
  await driver.settle();
}

test('a promotion of the same build corrects nothing, whatever the order of versions was', async () => {
  const driver = new GenerationsDriver();
  driver.append(
    reading(20),
    reading(50),
    reading(60),
    recovery('12:00', 60),
    recovery('09:00', 30),
    steps(1_500),
    steps(312, { hour: '09' }),
    steps(312, { hour: '09' }),
  );
  await driver.settle();
  const before = events(driver);
  driver.candidate();
  await driver.settle();
  assert.deepEqual(await driver.differences(), {
    changed: 0,
    added: 0,
    removed: 0,
    same: 3,
    before_start: 0,
  });
  await promoted(driver);
  assert.deepEqual(driver.corrections, none);
  assert.deepEqual(events(driver), before);
  checkReaders(before, await driver.faultless());
  assert.equal(
    versionsOf(before)
      .get(`oura u ${before.find(({ hrv }) => hrv === 60)?.resource_id}`)
      ?.at(-1)?.hrv,
    60,
  );
});

test('a corrected unit reaches the newest version of each resource, and only that', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(
    reading(20),
    reading(50),
    reading(60),
    recovery('12:00', 60),
    recovery('09:00', 30),
    steps(100),
  );
  driver.append(reading(35, { user: 'v' }));
  await driver.settle();
  driver.candidate();
  await driver.settle();
  const { changed, same } = await driver.differences();
  assert.deepEqual({ changed, same }, { changed: 3, same: 1 });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 3 });
  assert.deepEqual(
    driver
      .corrected()
      .map(({ event, correction }) => [event.hrv, correction, event.generation])
      .sort(),
    [
      [35, 'changed', 1],
      [60, 'changed', 1],
      [60, 'changed', 1],
    ],
  );
  checkReaders(events(driver), await driver.faultless());
});

test('a rule that changes alone is applied: the event keeps its id and its revision', async () => {
  const driver = new GenerationsDriver({ rules: withoutUrgent });
  driver.append(reading(20), reading(60, { user: 'v' }));
  await driver.settle();
  driver.candidate();
  await promoted(driver);
  const [published] = events(driver).filter(({ user_id }) => user_id === 'u');
  const [correction, ...more] = driver.corrected();
  assert.equal(more.length, 0);
  assert.equal(correction?.event.event_id, published?.event_id);
  assert.equal(correction?.event.revision, published?.revision);
  assert.equal(correction?.event.priority, 'HIGH');
  assert.equal(correction.event.triggers[0]?.first, true);
  checkReaders(events(driver), await driver.faultless());
});

test('a late version of a resource whose newer one lies before the start is never published', async () => {
  const driver = new GenerationsDriver();
  driver.append(recovery('12:00', 60), recovery('09:00', 30), reading(60));
  await driver.settle();
  driver.deleteBefore('whoop', 1);
  driver.candidate();
  await promoted(driver);
  assert.deepEqual(driver.corrections, none);
  assert.deepEqual(driver.corrected(), []);
  checkReaders(events(driver), await driver.faultless());
});

test('the first record that names a version of before the start is corrected after a change of rules', async () => {
  const driver = new GenerationsDriver({ rules: withoutUrgent });
  driver.append(recovery('12:00', 20), recovery('12:00', 20), reading(20), reading(50, { user: 'v' }));
  await driver.settle();
  driver.deleteBefore('whoop', 1);
  driver.candidate();
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 2 });
  const whoops = driver.corrected().filter(({ event }) => event.device_type === 'whoop');
  assert.deepEqual(
    whoops.map(({ event }) => [event.priority, event.raw.offset]),
    [['HIGH', 1]],
  );
});

test('a version of before the start that nothing names again is left as it is', async () => {
  const driver = new GenerationsDriver({ rules: withoutUrgent });
  driver.append(recovery('12:00', 20), reading(20));
  await driver.settle();
  driver.deleteBefore('whoop', 1);
  driver.candidate();
  await driver.settle();
  const { changed, before_start } = await driver.differences();
  assert.deepEqual({ changed, before_start }, { changed: 1, before_start: 0 });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 1 });
});

test('a HealthKit day on both sides of the start is not corrected, upwards or downwards', async () => {
  for (const plant of [undefined, halvedSteps]) {
    const driver = new GenerationsDriver({ plant });
    const at = now - 10 * dayMs;
    driver.append(
      steps(1_000, { days: 10, at }),
      steps(500, { days: 10, hour: '09', at: at + hourMs }),
      steps(700, { days: 5, at: at + 5 * dayMs }),
    );
    await driver.settle();
    driver.deleteBefore('healthkit', 1);
    driver.candidate();
    await driver.settle();
    const { changed, before_start } = await driver.differences();
    assert.equal(changed, plant === undefined ? 0 : 1);
    assert.equal(before_start, plant === undefined ? 0 : 1);
    await promoted(driver);
    assert.deepEqual(driver.corrections, { ...none, changed });
    const days = [...versionsOf(events(driver)).values()].map((all) => all.at(-1)?.activity_data['steps']);
    assert.deepEqual(days, [plant === undefined ? 1_500 : 750, 700]);
  }
});

/** Half of the steps. */
const halvedSteps: Plant = (answer) =>
  Symbol.iterator in answer ? [...answer].map((value) => halved(value)) : answer;

function halved(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (key, part: unknown) =>
    key === 'value' && typeof part === 'number' ? part / 2 : part,
  ) as unknown;
}

test('a version that arrives before its correction takes the false alert of the version before back', async () => {
  const driver = new GenerationsDriver({ plant: tenth });
  driver.append(recovery('09:00', 60), reading(60, { user: 'v' }));
  await driver.settle();
  const [first] = events(driver).filter(({ device_type }) => device_type === 'whoop');
  const alerts = alertIds([first!]);
  assert.equal(alerts.length, 1);
  driver.candidate();
  await driver.settle();
  driver.promote();
  await driver.takeOver();
  assert.notEqual(driver.state('corrections')?.done, true);
  driver.append(recovery('12:00', 70));
  await driver.processSome(1);
  await driver.settle();
  assert.deepEqual(driver.corrections, { ...none, changed: 1 });
  const newest = versionsOf(events(driver)).get('whoop 10129 recovery:s')?.at(-1);
  assert.equal(newest?.hrv, 70);
  assert.deepEqual(newest.supersedes?.alert_ids, alerts);
  checkReaders(events(driver), await driver.faultless());
});

test('a version that arrives before the correction that would have announced its alert announces it', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(recovery('09:00', 20));
  await driver.settle();
  driver.candidate();
  await driver.settle();
  driver.promote();
  await driver.takeOver();
  assert.notEqual(driver.state('corrections')?.done, true);
  driver.append(recovery('12:00', 21));
  await driver.processSome(1);
  await driver.settle();
  assert.deepEqual(driver.corrections, none);
  checkReaders(events(driver), await driver.faultless());
});

test('a version behind a correction names it, and takes back what it announced', async () => {
  for (const next of [21, 70]) {
    const driver = new GenerationsDriver({ plant: tenfold });
    driver.append(recovery('09:00', 20));
    await driver.settle();
    driver.candidate();
    await promoted(driver);
    assert.deepEqual(driver.corrections, { ...none, changed: 1 });
    driver.append(recovery('12:00', next));
    await driver.settle();
    const [correction] = driver.corrected();
    const newest = versionsOf(events(driver)).get('whoop 10129 recovery:s')?.at(-1);
    assert.equal(newest?.supersedes?.event_id, correction?.event.event_id);
    checkReaders(events(driver), await driver.faultless());
  }
});

test('a version that says what its correction says leaves that to it', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(reading(20));
  await driver.settle();
  driver.candidate();
  await driver.settle();
  driver.promote();
  await driver.takeOver();
  assert.notEqual(driver.state('corrections')?.done, true);
  driver.append(reading(20));
  await driver.processSome(1);
  await driver.settle();
  assert.deepEqual(driver.corrections, { ...none, changed: 1 });
  checkReaders(events(driver), await driver.faultless());
});

test('an alert is announced by what readers were told, not by what the recomputation knows', async () => {
  // Told and taken back below the cut: it was announced, and is not again.
  const told = new GenerationsDriver();
  told.append(reading(20), reading(60));
  await told.settle();
  told.candidate();
  await promoted(told);
  told.append(reading(21));
  await told.settle();
  assert.deepEqual(told.corrections, none);
  assert.deepEqual(
    events(told).flatMap(({ triggers }) => triggers.map(({ first }) => first)),
    [true, false],
  );

  // Never told, because the build before did not raise it, and taken back in the recomputation: it is news.
  const untold = new GenerationsDriver({ plant: tenfold });
  untold.append(reading(20), reading(60));
  await untold.settle();
  untold.candidate();
  await promoted(untold);
  untold.append(reading(21));
  await untold.settle();
  checkReaders(events(untold), await untold.faultless());
});

test('corrections announce alerts of the last 48 hours, and none with announcements turned off', async () => {
  for (const [options, isAnnounced] of [
    [{ at: receivedAt + 48 * hourMs }, true],
    [{ at: receivedAt + 48 * hourMs + 1 }, false],
    [{ announce: false }, false],
  ] as const) {
    const driver = new GenerationsDriver({ plant: tenfold });
    driver.append(reading(20));
    await driver.settle();
    driver.candidate();
    await promoted(driver, options);
    const [correction] = driver.corrected();
    assert.equal(correction?.event.triggers[0]?.first, isAnnounced);
    // The next version of the night tells what the correction did not.
    driver.append(reading(21));
    await driver.settle();
    assert.equal(events(driver).at(-1)?.generation, 1);
    checkReaders(events(driver), await driver.faultless());
  }
});

test('a resource of which the new build makes nothing is removed, and any later version comes after that', async () => {
  const driver = new GenerationsDriver({ plant: tenth });
  driver.append(recovery('12:00', 60), reading(60, { user: 'v' }));
  await driver.settle();
  const [published] = events(driver).filter(({ device_type }) => device_type === 'whoop');
  const silent: Plant = (answer, { topic }) => (topic.endsWith('raw.whoop') && isSilent ? [] : answer);
  let isSilent = true;
  driver.candidate({ plant: silent });
  await driver.settle();
  assert.equal((await driver.differences()).removed, 1);
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 1, removed: 1 });
  const [removal] = driver.corrected().filter(({ correction }) => correction === 'removed');
  assert.deepEqual(
    {
      deleted: removal?.event.deleted,
      revision: removal?.event.revision,
      generation: removal?.event.generation,
      hrv: removal?.event.hrv,
      triggers: removal?.event.triggers,
      supersedes: removal?.event.supersedes,
    },
    {
      deleted: true,
      revision: 1,
      generation: 1,
      hrv: null,
      triggers: [],
      supersedes: {
        event_id: published?.event_id,
        priority: published?.priority,
        alert_ids: alertIds([published!]),
      },
    },
  );
  // Older than the version that was removed, by its vendor.
  isSilent = false;
  driver.append(recovery('09:00', 55));
  await driver.settle();
  const newest = versionsOf(events(driver)).get('whoop 10129 recovery:s')?.at(-1);
  assert.equal(newest?.hrv, 55);
  assert.equal(newest.supersedes?.event_id, removal?.event.event_id);
});

test('a version that replaces one before its removal is published, however old its vendor calls it', async () => {
  const driver = new GenerationsDriver();
  driver.append(recovery('12:00', 60), reading(60, { user: 'v' }));
  await driver.settle();
  let isSilent = true;
  driver.candidate({ plant: (answer, { topic }) => (topic.endsWith('raw.whoop') && isSilent ? [] : answer) });
  await driver.settle();
  driver.promote();
  await driver.takeOver();
  assert.notEqual(driver.state('corrections')?.done, true);
  isSilent = false;
  driver.append(recovery('09:00', 55));
  await driver.processSome(1);
  await driver.settle();
  assert.deepEqual(driver.corrections, none);
  const newest = versionsOf(events(driver)).get('whoop 10129 recovery:s');
  assert.deepEqual(
    newest?.map(({ hrv }) => hrv),
    [60, 55],
  );
});

test('what the new build cannot read is left, unless its removal was asked for', async () => {
  const unreadable: Plant = (answer, { topic }) =>
    topic.endsWith('raw.whoop') ? reject('PLANTED', 'planted') : answer;
  for (const removeUnreadable of [false, true]) {
    const driver = new GenerationsDriver();
    driver.append(recovery('12:00', 20), reading(60));
    await driver.settle();
    driver.candidate({ plant: unreadable });
    await promoted(driver, { removeUnreadable });
    assert.deepEqual(
      driver.corrections,
      removeUnreadable ? { ...none, removed: 1 } : { ...none, unreadable: 1 },
    );
    const letters = driver.deadLetters();
    assert.equal(letters.length, removeUnreadable ? 1 : 0);
    assert.equal(driver.corrected().length, removeUnreadable ? 1 : 0);
    if (removeUnreadable) {
      assert.equal(letters[0]?.headers['__streams.errors.exception']?.toString(), 'PLANTED');
      assert.deepEqual(JSON.parse(String(letters[0].value)), recovery('12:00', 20).body);
    }
    // A restart does not do it again, and neither does another promotion of the same build.
    driver.restart();
    await driver.settle();
    driver.candidate({ plant: unreadable });
    await promoted(driver, { removeUnreadable });
    assert.deepEqual(driver.corrections, removeUnreadable ? none : { ...none, unreadable: 1 });
    assert.equal(driver.deadLetters().length, removeUnreadable ? 1 : 0);
    assert.equal(driver.corrected().length, removeUnreadable ? 1 : 0);
  }
});

test('a deletion of before is no difference when the new build makes nothing of its record', async () => {
  const deletion = oura('sleep', { ...night });
  const driver = new GenerationsDriver();
  driver.append({
    device: 'oura',
    user: 'u',
    receivedAt,
    body: {
      ...deletion,
      notification: { event_type: 'delete', data_type: 'sleep', object_id: 'o', user_id: 'u' },
    },
  });
  await driver.settle();
  assert.deepEqual(
    events(driver).map(({ deleted }) => deleted),
    [true],
  );
  driver.candidate({ plant: () => [] });
  await driver.settle();
  assert.equal((await driver.differences()).removed, 0);
  await promoted(driver);
  assert.deepEqual(driver.corrections, none);
});

test('two generations in a row correct what each of them changes', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(reading(20), recovery('12:00', 35), reading(60, { user: 'v' }), steps(100));
  await driver.settle();
  driver.candidate({ rules: withoutUrgent });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 3 });
  checkReaders(events(driver), await driver.faultless({ rules: withoutUrgent }));
  driver.append(recovery('13:00', 34));
  await driver.settle();
  driver.candidate();
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 1 });
  checkReaders(events(driver), await driver.faultless());
  driver.candidate();
  await driver.settle();
  const { changed, added, removed } = await driver.differences();
  assert.deepEqual({ changed, added, removed }, { changed: 0, added: 0, removed: 0 });
});

test('a candidate without state of before corrects nothing', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(reading(20), recovery('12:00', 60), recovery('09:00', 30));
  await driver.settle();
  driver.deleteBefore('whoop', 1);
  driver.candidate({}, { isUnseeded: true });
  await promoted(driver);
  assert.deepEqual(driver.corrections, none);
  assert.deepEqual(driver.corrected(), []);
  driver.append(reading(21));
  await driver.settle();
  const versions = [...versionsOf(events(driver)).values()].find(([one]) => one?.device_type === 'oura');
  assert.equal(versions?.at(-1)?.hrv, 21);
  assert.equal(versions.at(-1)?.supersedes?.event_id, versions.at(-2)?.event_id);
});

for (const layout of [1, 3] as const)
  test(`state of layout ${layout}, without outcomes, offsets and alerts, corrects nothing that is the same`, async () => {
    for (const start of [0, 2]) {
      const driver = new GenerationsDriver();
      driver.append(
        reading(20),
        reading(35, { slot: 1 }),
        reading(60, { slot: 2 }),
        reading(22),
        reading(22),
      );
      driver.append(recovery('12:00', 20), recovery('09:00', 60), steps(100));
      await driver.settle();
      const before = driver.read();
      driver.downgrade(layout);
      driver.deleteBefore('oura', start);
      driver.candidate();
      await driver.settle();
      const { changed, added, removed } = await driver.differences();
      assert.deepEqual({ changed, added, removed }, { changed: 0, added: 0, removed: 0 });
      await promoted(driver);
      assert.deepEqual(driver.corrections, none);
      assert.deepEqual(driver.read(), before);
      // Which alerts the event before raised is known from what was recomputed.
      driver.append(reading(90));
      await driver.settle();
      checkReaders(events(driver), await driver.faultless());
    }
  });

test('state of a layout before is corrected where its content differs', async () => {
  const driver = new GenerationsDriver({ plant: tenfold });
  driver.append(reading(20), reading(60, { slot: 1 }), steps(100));
  await driver.settle();
  driver.downgrade(3);
  driver.candidate();
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 2 });
});

test('the way back undoes what a generation has told, with the bodies that were published before it', async () => {
  const driver = new GenerationsDriver();
  driver.append(reading(20), reading(60, { user: 'v' }), recovery('09:00', 45), steps(1_500));
  await driver.settle();
  const before = events(driver);
  driver.candidate({ plant: tenfold });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 3 });
  // A record of its own time, and one that says what is known already.
  driver.append(reading(25, { user: 'w' }), reading(60, { user: 'v' }));
  await driver.settle();
  driver.candidate({}, { from: 0 });
  await driver.settle();
  assert.equal(driver.state('seed', 2)?.from, 0);
  assert.deepEqual(await driver.differences(), {
    changed: 4,
    added: 0,
    removed: 0,
    same: 1,
    before_start: 0,
  });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, changed: 4 });
  const back = driver.read().filter(({ event }) => event.generation === 2);
  assert.deepEqual(back.map(({ event, correction }) => [event.hrv, correction]).sort(), [
    [20, 'changed'],
    [25, 'changed'],
    [45, 'changed'],
    [60, 'changed'],
  ]);
  const [first] = before.filter(({ hrv }) => hrv === 20);
  const [again] = back.filter(({ event }) => event.hrv === 20);
  const { supersedes, generation, ...rest } = again!.event;
  assert.equal(generation, 2);
  assert.deepEqual(supersedes?.alert_ids, []);
  // Readers were told of the alert before: it is back, and no news.
  const triggers = first!.triggers.map((trigger) => ({ ...trigger, first: false }));
  assert.ok(triggers.length > 0);
  assert.deepEqual({ ...rest, generation: 0, supersedes: null }, { ...first, triggers });
  const [, known] = before;
  const [restored] = back.filter(({ event }) => event.hrv === 60);
  assert.deepEqual(
    { ...restored!.event, generation: 0, supersedes: null },
    known,
    'not made of the record that says what is known',
  );
  checkReaders(events(driver), await driver.faultless());
});

test('a version that is said again behind the start does not become the value of its day', async () => {
  const of = (days: number, hour: string, hrv: number): Webhook => {
    const timestamp = `${new Date(now - days * dayMs).toISOString().slice(0, 10)}T${hour}:00:00Z`;
    return {
      device: 'oura',
      user: 'u',
      body: { user_id: 'u', timestamp, hrv_data: { rmssd: hrv } },
      receivedAt,
    };
  };
  const driver = new GenerationsDriver();
  driver.append(of(4, '06', 40), of(4, '07', 60));
  await driver.settle();
  driver.deleteBefore('oura', 2);
  driver.append(of(4, '06', 40));
  await driver.settle();
  driver.candidate();
  await promoted(driver);
  driver.append(of(3, '06', 50));
  await driver.settle();
  assert.equal(events(driver).at(-1)?.baseline?.hrv_mean, 60);
});

test('the way back restores versions of which a build before noted no offset', async () => {
  for (const layout of [1, 3] as const) {
    const driver = new GenerationsDriver();
    driver.append(reading(60), reading(70, { user: 'v' }));
    await driver.settle();
    driver.downgrade(layout);
    driver.candidate({ plant: tenfold });
    await promoted(driver);
    driver.append(reading(80, { user: 'v' }));
    await driver.settle();
    driver.candidate({}, { from: 0 });
    await promoted(driver);
    assert.deepEqual(driver.corrections, { ...none, changed: 2 });
    checkReaders(events(driver), await driver.faultless());
  }
});

test('the way back corrects nothing that two generations agree on, also in rows of a build before', async () => {
  for (const layout of [undefined, 1, 3] as const) {
    const driver = new GenerationsDriver();
    // Rows of a build before do not say which alerts were raised.
    driver.append(reading(layout === undefined ? 20 : 60), recovery('09:00', 45), steps(1_500));
    await driver.settle();
    if (layout !== undefined) driver.downgrade(layout);
    driver.candidate();
    await promoted(driver);
    driver.candidate({}, { from: 0 });
    await promoted(driver);
    assert.deepEqual(driver.corrections, none);
    assert.deepEqual(driver.corrected(), []);
  }
});

test('what a generation left to readers although it cannot read it any more is left on the way back to it', async () => {
  const unread: Plant = (answer, record) => (record.offset === 0n ? reject('PLANTED', 'planted') : answer);
  const driver = new GenerationsDriver();
  driver.append(reading(20), reading(60, { user: 'v' }));
  await driver.settle();
  driver.candidate({ plant: unread });
  await promoted(driver);
  assert.deepEqual(driver.corrections, { ...none, unreadable: 1 });
  driver.candidate({ rules: withoutUrgent });
  await promoted(driver);
  driver.candidate({ plant: unread }, { from: 1 });
  await promoted(driver);
  const newest = versionsOf(events(driver));
  assert.deepEqual(
    [...newest.values()].map((versions) => [versions.at(-1)?.hrv, versions.at(-1)?.deleted]),
    [
      [20, false],
      [60, false],
    ],
  );
});

/** A build that cannot read the second record of each vendor. */
const unreadSecond: Plant = (answer, record) =>
  record.offset === 1n ? reject('PLANTED', 'planted') : answer;

test('a version that cannot be read any more is not replaced by an older one, unless it is to be removed', async () => {
  for (const removeUnreadable of [false, true])
    for (let seed = 0; seed < 20; seed += 1) {
      const driver = new GenerationsDriver();
      // The second one and what it says are the same in each vendor.
      driver.append(
        recovery('09:00', 30),
        recovery('12:00', 60),
        reading(20),
        reading(70),
        reading(25, { user: 'v' }),
      );
      await driver.settle();
      driver.candidate({ plant: unreadSecond });
      await driver.settle(seed);
      driver.promote({ removeUnreadable });
      await driver.settle(seed === 0 ? undefined : seed);
      const newest = [...versionsOf(events(driver)).values()].map((versions) => versions.at(-1)?.hrv);
      const { changed, removed, unreadable } = driver.corrections;
      assert.deepEqual(newest, removeUnreadable ? [20, 25, 30] : [70, 25, 60], `seed ${seed}`);
      assert.deepEqual(
        [changed, removed, unreadable],
        removeUnreadable ? [2, 0, 0] : [0, 0, 2],
        `seed ${seed}`,
      );
      assert.equal(driver.deadLetters().length, removeUnreadable ? 2 : 0);
      assert.deepEqual(driver.noted(), ['corrections', 'seed', 'takeover']);
    }
});

test('a version that is left although it cannot be read any more gives way to a live one', async () => {
  const driver = new GenerationsDriver();
  driver.append(recovery('09:00', 30), recovery('12:00', 60));
  await driver.settle();
  driver.candidate({ plant: unreadSecond });
  await driver.settle();
  driver.promote();
  driver.append(recovery('13:00', 40));
  await driver.settle();
  assert.equal(driver.corrections.changed, 0);
  const [versions = []] = versionsOf(events(driver)).values();
  assert.deepEqual(
    versions.map(({ hrv }) => hrv),
    [30, 60, 40],
  );
  assert.equal(versions[2]?.supersedes?.event_id, versions[1]?.event_id);
});

test('a left version stays newer than a late one that readers would not have got, before the cut and behind it', async () => {
  for (const isBefore of [true, false]) {
    const driver = new GenerationsDriver();
    driver.append(recovery('09:00', 30), recovery('12:00', 60));
    if (isBefore) driver.append(recovery('10:30', 45));
    await driver.settle();
    driver.candidate({ plant: unreadSecond });
    await promoted(driver);
    if (!isBefore) driver.append(recovery('10:30', 45));
    await driver.settle();
    const [versions = []] = versionsOf(events(driver)).values();
    assert.equal(versions.at(-1)?.hrv, 60);
    assert.equal(driver.corrections.unreadable, 1);
  }
});

test('behind a left version, what was said before it is news again', async () => {
  const driver = new GenerationsDriver();
  const user = 'Zoë 李';
  driver.append(reading(20, { user }), reading(70, { user }));
  await driver.settle();
  driver.candidate({ plant: unreadSecond });
  await promoted(driver);
  driver.append(reading(20, { user }));
  await driver.settle();
  const [versions = []] = versionsOf(events(driver)).values();
  assert.deepEqual(
    versions.map(({ hrv }) => hrv),
    [20, 70, 20],
  );
});

test('a version that a generation has left is left on the way back to it', async () => {
  const driver = new GenerationsDriver();
  driver.append(reading(20), reading(70));
  await driver.settle();
  driver.candidate({ plant: unreadSecond });
  await promoted(driver);
  driver.candidate({ rules: [] });
  await promoted(driver);
  driver.candidate({ plant: unreadSecond }, { from: 1 });
  await promoted(driver);
  const [versions = []] = versionsOf(events(driver)).values();
  assert.equal(versions.at(-1)?.hrv, 70);
});

test('a version from before the start that a newer one has replaced is no more than what readers have', async () => {
  const driver = new GenerationsDriver();
  driver.append(reading(20));
  await driver.settle();
  driver.deleteBefore('oura', 1);
  driver.candidate({ plant: unreadSecond });
  await driver.settle();
  driver.append(reading(70));
  await promoted(driver, { removeUnreadable: true });
  assert.deepEqual(driver.corrections, none);
  assert.equal(driver.deadLetters().length, 0);
  driver.append(reading(20));
  await driver.settle();
  const [versions = []] = versionsOf(events(driver)).values();
  assert.deepEqual(
    versions.map(({ hrv }) => hrv),
    [20, 70, 20],
  );
});

test('a candidate that cannot read what readers were told corrects nothing, and publishes from the cut on', async () => {
  const driver = new GenerationsDriver();
  driver.append(reading(20), recovery('09:00', 30));
  await driver.settle();
  driver.downgrade('unreadable');
  driver.candidate({ plant: tenfold });
  await promoted(driver);
  assert.deepEqual(driver.corrections, none);
  assert.deepEqual(driver.noted(), ['corrections', 'seed', 'takeover']);
  driver.append(reading(50, { user: 'v' }));
  await driver.settle();
  assert.equal(events(driver).at(-1)?.hrv, 500);
});
