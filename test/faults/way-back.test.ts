/** A generation that turned out to be worse, and the way back to the one before. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { discard } from '../../replay/promote.ts';
import { readStatus } from '../../replay/status.ts';
import { plants } from './plant.ts';
import { candidate, deployed, ended, instance, prepare, promoteTo, settled } from './reprocessing.ts';
import { seeded } from './settings.ts';

const timeout = 240_000;
const steps = ['begin', 'outputs', 'changelogs', 'offsets', 'commit'] as const;

describe('on the way back', () => {
  test(
    'readers get again what the generation before would have given them all the time',
    { timeout },
    async (t) => {
      const deployment = await deployed(t, {}, { rate: 200 });
      const { application, generations } = deployment;
      await candidate(deployment, 1, { plant: plants });
      await assert.rejects(promoteTo(generations, 1, { from: 0 }), /does not go back to generation 0/);
      await promoteTo(generations, 1, { removeUnreadable: true });
      await settled(generations, 1);
      await application.progress(400, 60_000, generations.groupOf(1));
      await prepare(application, 2);
      const seedless = instance(application, 2, 'a', { from: 0, crash: { phase: 'seed', step: 'commit' } });
      assert.equal(await seedless.ended(), 'SIGKILL');
      await assert.rejects(discard(generations, 0), /still copy its state/);
      assert.deepEqual((await readStatus(generations)).to_discard, []);
      await candidate(deployment, 2, { from: 0 });
      const { candidate: back } = await readStatus(generations);
      assert.equal(back?.from, 0);
      const { changed = 0, added = 0, removed = 0 } = back.differences ?? {};
      assert.ok(changed > 0 && added > 0 && removed > 0, JSON.stringify(back.differences));
      await promoteTo(generations, 2, { from: 0 });
      const { corrections } = await ended(t, deployment, back.differences ?? {});
      assert.deepEqual(Object.keys(corrections).sort(), ['added', 'changed', 'removed']);
      for (const generation of [0, 1]) await discard(generations, generation);
      assert.deepEqual((await readStatus(generations)).to_discard, []);
    },
  );

  test(
    'corrections that have not ended are taken back, by a candidate that is killed in its own',
    { timeout },
    async (t) => {
      const random = seeded(t, 'way back');
      const step = steps[Math.floor(random() * steps.length)] ?? 'commit';
      const deployment = await deployed(t, {}, { partitions: 1 });
      const { application, generations } = deployment;
      const crash = { phase: 'corrections', step: 'commit' } as const;
      const worse = await candidate(deployment, 1, { plant: plants, crash });
      await promoteTo(generations, 1);
      assert.equal(await worse.ended(), 'SIGKILL');
      const doomed = await candidate(deployment, 2, { from: 0, crash: { phase: 'corrections', step } });
      await promoteTo(generations, 2, { from: 0 });
      assert.equal(await doomed.ended(), 'SIGKILL');
      const tasks = await generations.tasks(1);
      assert.deepEqual(
        tasks.map((one) => [one.hasTakenOver, one.corrections?.done]),
        [[true, false]],
      );
      instance(application, 2, 'a', { from: 0 });
      await ended(t, deployment, { step });
    },
  );
});
