/** A candidate whose raw log is not what it was, or longer than it looks back, or whose live generation has a backlog. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { discard } from '../../replay/promote.ts';
import { readStatus } from '../../replay/status.ts';
import { until } from '../streams/until.ts';
import { dayMs } from '../../vendors/instant.ts';
import { Live, type Webhook } from '../replay/live.ts';
import { exportOf, metric } from '../topology/exports.ts';
import { whoop } from '../vendors/payloads.ts';
import { Application } from './application.ts';
import {
  candidate,
  caughtUp,
  deleteRaw,
  deployed,
  ended,
  instance,
  newest,
  openGenerations,
  prepare,
  promoteTo,
  readEvents,
  settled,
} from './reprocessing.ts';
import { report } from './settings.ts';

const timeout = 240_000;

describe('a candidate', () => {
  test(
    'that is behind the beginning of a log ends, says what to do, and is discarded and started again',
    { timeout },
    async (t) => {
      const deployment = await deployed(t);
      const { application, generations, traffic } = deployment;
      await (await candidate(deployment)).stop();
      await application.progress(600);
      await deleteRaw(application, (committed) => committed);
      await application.progress(200);
      const second = instance(application, 1, 'a');
      assert.equal(await second.ended(), 1);
      assert.match(second.log, /has no offset \d+ any more.*its log begins at \d+.*bridge replay discard 1/);
      await until(
        'the group to give the candidate up',
        async () => (await generations.members(1)).members.length === 0 || undefined,
      );
      await discard(generations, 1);
      // kafkajs asks for the deleted topics again and again, and fails until they exist.
      const fresh = await openGenerations(application);
      assert.equal((await readStatus(fresh)).candidate, null);
      await prepare(application, 1, fresh.admin);
      await caughtUp(generations, instance(application, 1, 'a'));
      const { candidate: third } = await readStatus(generations);
      await traffic.stop();
      await promoteTo(generations, 1);
      await settled(generations, 1);
      const { corrections } = await readStatus(generations);
      report(t, { ...third?.differences, ...corrections });
      const nothing = { changed: 0, added: 0, removed: 0, unreadable: 0 };
      assert.deepEqual(corrections, { ...nothing, done: true, taken_over: 2, tasks: 2 });
      await application.stop();
    },
  );

  test(
    'is promoted over a backlog that the live group has not processed, by two instances that share its tasks',
    { timeout },
    async (t) => {
      const deployment = await deployed(t, { plant: ['silent'] }, { partitions: 4 });
      const { application, generations, old } = deployment;
      await prepare(application, 1);
      const both = ['a', 'b'].map((id) => instance(application, 1, id));
      await Promise.all(both.map((one) => one.running()));
      await Promise.all(both.map((one) => caughtUp(generations, one)));
      // Nobody processes for a while: the candidates wait for what the live group has not done.
      await old.stop();
      const ends = await application.ends();
      await until('a backlog', async () => {
        const now = await application.ends();
        return (
          [...now].reduce((sum, [name, end]) => sum + Number(end - (ends.get(name) ?? 0n)), 0) > 500 ||
          undefined
        );
      });
      const committed = await generations.committed(1);
      const live = await generations.committed(0);
      for (const [name, offset] of committed)
        assert.ok(offset <= (live.get(name) ?? 0n), 'it is not ahead of the live group');
      await promoteTo(generations, 1);
      await ended(t, deployment);
    },
  );

  test(
    'starts at the first record of the last 27 days, with what older ones have left, where the log still has those',
    { timeout },
    async (t) => {
      const application = await Application.create(t, { partitions: 1 });
      const generations = await openGenerations(application);
      const live = Live.of(application);
      const startMs = Date.now() - 27 * dayMs;
      // Topics keep both for half a day more, at least.
      const [before, behind] = [startMs - dayMs / 2, startMs + dayMs / 2];
      await live.append([
        { ...reading('older', before), receivedAt: before },
        { ...recovery('12', 60), receivedAt: before },
        { ...steps(startMs, '01', 1_000), receivedAt: before },
      ]);
      const [changed] = await live.append([
        { ...reading('newer', behind), receivedAt: behind },
        // Late: its newer version is from before the start.
        { ...recovery('09', 30), receivedAt: behind },
        { ...steps(startMs, '02', 500), receivedAt: behind },
      ]);
      instance(application, 0, 'a', { plant: ['tenfold'] });
      await application.drained();
      await prepare(application, 1);
      await caughtUp(generations, instance(application, 1, 'a'));
      await application.cluster.drained(application.rawTopics, generations.groupOf(1));
      const [task] = await generations.tasks(1);
      assert.deepEqual(
        Object.entries(task?.seed?.starts ?? {}).map(([vendor, { offset }]) => [vendor, offset]),
        [
          ['oura', '1'],
          ['whoop', '1'],
          ['terra', '0'],
          ['healthkit', '1'],
        ],
      );
      assert.deepEqual((await readStatus(generations)).candidate?.differences, {
        changed: 1,
        added: 0,
        removed: 0,
        same: 3,
        before_start: 0,
      });
      await promoteTo(generations, 1);
      await settled(generations, 1);
      await live.append([
        { ...recovery('10', 40), receivedAt: behind },
        { ...steps(startMs, '03', 250), receivedAt: behind },
      ]);
      await application.cluster.drained(application.rawTopics, generations.groupOf(1));
      await application.stop();
      const read = await readEvents(application);
      const corrections = read.filter(({ record }) => record.headers['correction'] !== undefined);
      assert.deepEqual(
        corrections.map(({ event: { raw } }) => `${raw.topic}:${raw.partition}:${raw.offset}`),
        [changed],
      );
      const has = [...newest(read.map(({ event }) => event)).values()];
      assert.deepEqual(
        Object.fromEntries(has.map((one) => [one.user_id, one.hrv ?? one.activity_data['steps']])),
        {
          older: 500,
          newer: 50,
          '10129': 60,
          walker: 1_750,
        },
      );
    },
  );
});

/** A reading of the simple format, with an HRV of 50. */
function reading(user: string, atMs: number): Webhook {
  const body = { user_id: user, timestamp: new Date(atMs).toISOString(), hrv_data: { rmssd: 50 } };
  return { device: 'oura', user, body: JSON.stringify(body) };
}

/** A WHOOP recovery in the collector's envelope, of the version of an hour. */
function recovery(hour: string, hrv: number): Webhook {
  const score = { hrv_rmssd_milli: hrv, recovery_score: 60, resting_heart_rate: 50 };
  const body = JSON.stringify(whoop('recovery', { updated_at: `2025-07-30T${hour}:00:00Z`, score }));
  return { device: 'whoop', user: '10129', body, scheme: 'collector' };
}

/** Steps of an hour of a day. */
function steps(dayAtMs: number, hour: string, count: number): Webhook {
  const at = `${new Date(dayAtMs).toISOString().slice(0, 10)} ${hour}:00:00 +0000`;
  const body = JSON.stringify(exportOf(metric('step_count', 'count', [at, count, 'Watch'])));
  return { device: 'healthkit', user: 'walker', body };
}
