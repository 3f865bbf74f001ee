/** A candidate whose raw log is not what it was, or whose live generation has a backlog. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { discard } from '../../replay/promote.ts';
import { readStatus } from '../../replay/status.ts';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import {
  caughtUp,
  compareWithFaultless,
  faultless,
  instance,
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
      const application = await Application.create(t, { partitions: 2 });
      const { cluster, rawTopics } = application;
      const generations = await openGenerations(application);
      const traffic = application.traffic({ rate: 200, users: 60 });
      const old = instance(application, 0, 'a');
      await old.running();
      await application.progress(400);
      await prepare(application, 1);
      const first = instance(application, 1, 'a');
      await caughtUp(generations, first);
      await first.stop();
      await application.progress(600);
      for (const topic of rawTopics) {
        const committed = [...((await application.committed()) ?? [])].filter(([name]) =>
          name.startsWith(`${topic}-`),
        );
        const partitions = committed.map(([name, offset]) => ({
          partition: Number(name.slice(topic.length + 1)),
          offset: String(offset),
        }));
        if (partitions.length > 0) await cluster.admin.deleteTopicRecords({ topic, partitions });
      }
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
      const third = instance(application, 1, 'a');
      const { candidate } = await caughtUp(generations, third);
      await traffic.stop();
      await promoteTo(generations, 1);
      await settled(generations, 1);
      const status = await readStatus(generations);
      report(t, { ...candidate?.differences, ...status.corrections });
      const { changed, added, removed } = status.corrections ?? {};
      assert.deepEqual({ changed, added, removed }, { changed: 0, added: 0, removed: 0 });
      await third.stop();
      await old.stop();
    },
  );

  test(
    'is promoted over a backlog that the live group has not processed, by two instances that share its tasks',
    { timeout },
    async (t) => {
      const application = await Application.create(t, { partitions: 4 });
      const generations = await openGenerations(application);
      const traffic = application.traffic({ rate: 200, users: 60 });
      const old = instance(application, 0, 'a', { plant: ['silent'] });
      await old.running();
      await application.progress(400);
      await prepare(application, 1);
      const candidates = ['a', 'b'].map((id) => instance(application, 1, id));
      await Promise.all(candidates.map((one) => caughtUp(generations, one)));
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
      await settled(generations, 1);
      await traffic.stop();
      await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
      const compared = compareWithFaultless(await readEvents(application), await faultless(application));
      report(t, { ...compared });
      for (const one of candidates) await one.stop();
    },
  );
});
