/** A promotion that is killed, suspended, repeated, raced or given up. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, test } from 'node:test';
import type { Generations } from '../../replay/generations.ts';
import { abortPromotion, type PromoteStep } from '../../replay/promote.ts';
import { readStatus } from '../../replay/status.ts';
import { testProgram } from '../bridge-program.ts';
import { until } from '../streams/until.ts';
import type { Application } from './application.ts';
import type { PromoteSettings } from './promote-worker.ts';
import { candidate, deployed, ended, openGenerations, promoteTo } from './reprocessing.ts';

const timeout = 240_000;
const steps = [
  'checked',
  'fenced',
  'closing',
  'empty',
  'cut',
  'live',
  'deleted',
] as const satisfies PromoteStep[];

/** Runs a promotion that kills itself; answers the signal that ended it. */
function killedAfter(
  application: Application,
  dieAfter: PromoteStep,
  options: PromoteSettings['options'],
): Promise<string | null> {
  const settings: PromoteSettings = { env: application.env, generation: 1, dieAfter, options };
  return new Promise((resolve) => {
    const args = [...testProgram('faults/promote-worker'), JSON.stringify(settings)];
    execFile(process.execPath, args, { timeout: 60_000 }, (error) => resolve(error?.signal ?? null));
  });
}

/** A promotion that waits behind a step until it is let go on. */
function suspended(
  generations: Generations,
  at: PromoteStep,
): { reached: Promise<void>; resume: () => void; done: Promise<void> } {
  let reach = (): void => undefined;
  let resume = (): void => undefined;
  const reached = new Promise<void>((resolve) => (reach = resolve));
  const gate = new Promise<void>((resolve) => (resume = resolve));
  const done = promoteTo(generations, 1, {
    afterStep: async (step) => {
      if (step !== at) return;
      reach();
      await gate;
    },
  });
  done.catch(() => undefined);
  return { reached: Promise.race([reached, done]), resume: () => resume(), done };
}

describe('a promotion', () => {
  test('that is killed after each of its steps is finished by running it again', { timeout }, async (t) => {
    const deployment = await deployed(t, { plant: ['tenfold'] });
    await candidate(deployment);
    const { application, generations } = deployment;
    for (const step of steps) {
      // What is live already is not promoted once more.
      const before = await generations.control.refresh();
      const isOver = before.live === 1;
      // Who goes on with a promotion need not repeat its options, and cannot change them.
      const options =
        before.closing === 1 ? { isReadersReady: false, announce: false, removeUnreadable: true } : {};
      assert.equal(await killedAfter(application, step, options), isOver ? null : 'SIGKILL', step);
      const { live, closing } = await readStatus(generations);
      assert.equal(live, step === 'live' || step === 'deleted' ? 1 : 0, step);
      assert.equal(closing, ['closing', 'empty', 'cut'].includes(step) ? 1 : null, step);
    }
    const { announce, removeUnreadable } = generations.control.state.promotions.get(1) ?? {};
    assert.deepEqual([announce, removeUnreadable], [true, false]);
    const [group] = (await generations.admin.describeGroups([generations.groupOf(0)])).groups;
    assert.equal(
      group?.state,
      'Dead',
      'the old group is deleted, also where the promotion was killed before',
    );
    await ended(t, deployment, { kills: steps.length });
  });

  test(
    'that is suspended behind the cut cannot go on once it was given up, and two at once have one cut',
    { timeout },
    async (t) => {
      const deployment = await deployed(t, { plant: ['tenfold'] });
      await candidate(deployment);
      const { application, generations, old } = deployment;
      const { reached, resume, done } = suspended(generations, 'cut');
      await reached;
      const other = await openGenerations(application);
      await abortPromotion(other, 1);
      await until(
        'the old instances to go on by themselves',
        () => old.state === 'RUNNING' || undefined,
        60_000,
      );
      await application.progress(200);
      resume();
      await assert.rejects(done, /another command has taken the control topic over/);
      const { live, closing } = await readStatus(other);
      assert.deepEqual({ live, closing }, { live: 0, closing: null });
      const both = await Promise.allSettled([promoteTo(generations, 1), promoteTo(other, 1)]);
      assert.ok(
        both.some(({ status }) => status === 'fulfilled'),
        both.map((one) => (one.status === 'rejected' ? String(one.reason) : 'done')).join('; '),
      );
      const records = await application.cluster.read([generations.control.topic]);
      const lives = records.filter(({ value }) => value?.includes('"live"') === true);
      assert.equal(lives.length, 1);
      await ended(t, deployment, { refused: both.filter(({ status }) => status === 'rejected').length });
    },
  );
});
