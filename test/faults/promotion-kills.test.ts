/** A candidate that is killed in the middle of what it does besides its records. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  candidate,
  caughtUp,
  deployed,
  deleteRaw,
  ended,
  instance,
  prepare,
  promoteTo,
  settled,
} from './reprocessing.ts';
import { faultSeed, rounds, seeded } from './settings.ts';
import type { Crash, Phase } from './topology-worker.ts';

const times = rounds(1);
/** As many of the two as there are rounds; which comes first follows from the seed. */
const killedIn = (['takeover', 'corrections'] as const).filter((_, at) => (at + faultSeed) % 2 < times);
const timeout = 180_000 + times * 60_000;
const steps = ['begin', 'outputs', 'changelogs', 'offsets', 'during commit', 'commit'] as const;

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
      const deployment = await deployed(t);
      const { application, generations } = deployment;
      const raw = await application.cluster.read(application.rawTopics);
      await deleteRaw(application, (committed) => committed / 2n);
      await prepare(application, 1);
      const crashes = deaths(random, 'seed');
      for (const crash of crashes)
        assert.equal(await instance(application, 1, 'a', { crash }).ended(), 'SIGKILL');
      await caughtUp(generations, instance(application, 1, 'a'));
      await promoteTo(generations, 1);
      const compared = await ended(t, deployment, { crashes }, raw);
      assert.deepEqual(compared.corrections, {}, 'nothing has changed');
    },
  );

  for (const phase of killedIn)
    test(`in its ${phase} goes on where it was`, { timeout }, async (t) => {
      const random = seeded(t, phase);
      const deployment = await deployed(t, { plant: ['tenfold'] });
      const { application, generations } = deployment;
      const crashes = deaths(random, phase);
      const [first] = crashes;
      assert.ok(first !== undefined);
      const doomed = await candidate(deployment, 1, { crash: first });
      await promoteTo(generations, 1);
      assert.equal(await doomed.ended(), 'SIGKILL');
      for (const crash of crashes.slice(1)) {
        const next = instance(application, 1, 'a', { crash });
        // All may be done by now.
        const end = await Promise.race([next.ended(), settled(generations, 1, 60_000)]);
        if (end === undefined) await next.kill();
        else assert.equal(end, 'SIGKILL');
      }
      instance(application, 1, 'a');
      await ended(t, deployment, { crashes });
    });

  test('at random, before and after it became live, loses and repeats nothing', { timeout }, async (t) => {
    const random = seeded(t, 'random');
    const deployment = await deployed(t, { plant: ['tenfold'] });
    const { application, generations } = deployment;
    await prepare(application, 1);
    let worker = instance(application, 1, 'a');
    for (let kill = 0; kill < times; kill += 1) {
      await worker.running();
      await sleep(random() * 1_000);
      await worker.kill();
      worker = instance(application, 1, 'a');
    }
    await caughtUp(generations, worker);
    await promoteTo(generations, 1);
    for (let kill = 0; kill < times; kill += 1) {
      await sleep(random() * 1_500);
      await worker.kill();
      worker = instance(application, 1, 'a');
      await worker.running();
    }
    await ended(t, deployment, { kills: 2 * times });
  });
});
