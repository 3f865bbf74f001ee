/** A candidate that is killed in the middle of what it does besides its records. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
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
import { faultSeed, report, rounds, seeded } from './settings.ts';
import type { Crash, Phase } from './topology-worker.ts';

const times = rounds(1);
/** As many of the two as there are rounds; which comes first follows from the seed. */
const killedIn = (['takeover', 'corrections'] as const).filter((_, at) => (at + faultSeed) % 2 < times);
const timeout = 180_000 + times * 60_000;
const steps = ['outputs', 'changelogs', 'offsets', 'during commit', 'commit'] as const;

/** The deaths of a test: at the steps of a commit in turn, beginning with any. */
function deaths(random: () => number, phase: Phase): Crash[] {
  const first = Math.floor(random() * steps.length);
  return Array.from({ length: times }, (_, death) => ({
    phase,
    step: steps[(first + death) % steps.length] ?? 'outputs',
    delayMs: Math.floor(random() * 4),
  }));
}

describe('a candidate that is killed', () => {
  test(
    'while it seeds begins again, and what the log no longer tells is as the live generation has it',
    { timeout },
    async (t) => {
      const random = seeded(t, 'seed');
      const application = await Application.create(t, { partitions: 2 });
      const { cluster, rawTopics } = application;
      const generations = await openGenerations(application);
      const traffic = application.traffic({ rate: 200, users: 60 });
      const old = instance(application, 0, 'a');
      await old.running();
      await application.progress(500);
      // What retention deletes.
      const raw = await cluster.read(rawTopics);
      for (const topic of rawTopics) {
        const partitions = [...((await application.committed()) ?? [])]
          .filter(([name]) => name.startsWith(`${topic}-`))
          .map(([name, offset]) => ({
            partition: Number(name.slice(topic.length + 1)),
            offset: String(offset / 2n),
          }));
        if (partitions.length > 0) await cluster.admin.deleteTopicRecords({ topic, partitions });
      }
      await prepare(application, 1);
      const crashes = deaths(random, 'seed');
      for (const crash of crashes)
        assert.equal(await instance(application, 1, 'a', { crash }).ended(), 'SIGKILL');
      const candidate = instance(application, 1, 'a');
      await caughtUp(generations, candidate);
      await promoteTo(generations, 1);
      await settled(generations, 1);
      await traffic.stop();
      await cluster.drained(rawTopics, generations.groupOf(1), 60_000);
      const compared = compareWithFaultless(await readEvents(application), await faultless(application, raw));
      report(t, { crashes, ...compared });
      assert.deepEqual(compared.corrections, {}, 'nothing has changed');
      await candidate.stop();
      await old.stop();
    },
  );

  for (const phase of killedIn)
    test(`in its ${phase} goes on where it was`, { timeout }, async (t) => {
      const random = seeded(t, phase);
      const application = await Application.create(t, { partitions: 2 });
      const generations = await openGenerations(application);
      const traffic = application.traffic({ rate: 200, users: 60 });
      const old = instance(application, 0, 'a', { plant: ['tenfold'] });
      await old.running();
      await application.progress(500);
      await prepare(application, 1);
      const crashes = deaths(random, phase);
      const [first] = crashes;
      assert.ok(first !== undefined);
      const doomed = instance(application, 1, 'a', { crash: first });
      await caughtUp(generations, doomed);
      await promoteTo(generations, 1);
      assert.equal(await doomed.ended(), 'SIGKILL');
      for (const crash of crashes.slice(1)) {
        const next = instance(application, 1, 'a', { crash });
        // All may be done by now.
        const end = await Promise.race([next.ended(), settled(generations, 1, 60_000)]);
        if (end === undefined) await next.kill();
        else assert.equal(end, 'SIGKILL');
      }
      const candidate = instance(application, 1, 'a');
      await settled(generations, 1);
      await traffic.stop();
      await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
      const compared = compareWithFaultless(await readEvents(application), await faultless(application));
      report(t, { crashes, ...compared });
      await candidate.stop();
      await old.stop();
    });

  test('at random, before and after it became live, loses and repeats nothing', { timeout }, async (t) => {
    const random = seeded(t, 'random');
    const application = await Application.create(t, { partitions: 2 });
    const generations = await openGenerations(application);
    const traffic = application.traffic({ rate: 200, users: 60 });
    const old = instance(application, 0, 'a', { plant: ['tenfold'] });
    await old.running();
    await application.progress(500);
    await prepare(application, 1);
    const kills = 1 + times;
    let candidate = instance(application, 1, 'a');
    for (let kill = 0; kill < kills; kill += 1) {
      await candidate.running();
      await sleep(random() * 1_000);
      await candidate.kill();
      candidate = instance(application, 1, 'a');
    }
    await caughtUp(generations, candidate);
    await promoteTo(generations, 1);
    for (let kill = 0; kill < kills; kill += 1) {
      await sleep(random() * 1_500);
      await candidate.kill();
      candidate = instance(application, 1, 'a');
      await candidate.running();
    }
    await settled(generations, 1);
    await traffic.stop();
    await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
    const compared = compareWithFaultless(await readEvents(application), await faultless(application));
    report(t, { kills: 2 * kills, ...compared });
    await candidate.stop();
    await old.stop();
  });
});
