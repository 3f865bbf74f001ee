/** Instances of the generation before, at and after a promotion: late ones, sleepers, and those of an older build. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { abortPromotion, discard } from '../../replay/promote.ts';
import { RefusedCommand } from '../../replay/exit.ts';
import { readStatus } from '../../replay/status.ts';
import { until } from '../streams/until.ts';
import { Application, registerContract, registryUrl } from './application.ts';
import { contractOf } from './contract-readers.ts';
import { checkOutRelease, releaseMissing } from './release-before.ts';
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
import { faultSeed, report, rounds } from './settings.ts';
import type { WorkerProcess } from './worker-process.ts';

const timeout = 300_000;

/** Waits until a process says that it is retired, and checks what its probes say and that it has joined no group. */
async function isIdle(worker: WorkerProcess): Promise<void> {
  const find = (pattern: RegExp): RegExpExecArray | undefined => pattern.exec(worker.log) ?? undefined;
  await until('the process to be retired', () => find(/retired: another generation/), 60_000);
  const [, port = ''] = await until('its admin port', () => find(/"port":(\d+),"msg":"admin port"/));
  const ask = async (path: string): Promise<[number, string]> => {
    const answer = await fetch(`http://127.0.0.1:${port}/${path}`);
    return [answer.status, await answer.text()];
  };
  await until(
    'its streams to be closed',
    () => worker.state === undefined || worker.state === 'NOT_RUNNING' || undefined,
  );
  const [live] = await ask('livez');
  const [ready, why] = await ask('readyz');
  assert.equal(live, 200);
  assert.equal(ready, 503);
  assert.match(why, /retired: generation 1/);
  assert.ok(worker.isAlive);
}

/** As many steps as there are rounds; which come first follows from the seed. */
const steps = ['outputs', 'changelogs', 'offsets'] as const;
const sleepsAfter = steps.filter((_, at) => (at + faultSeed) % steps.length < rounds(1));

describe('an instance of the generation before', () => {
  test(
    'that starts late, behind the closing or once another is live, stays idle; given up, the old ones go on',
    { timeout },
    async (t) => {
      const application = await Application.create(t, { partitions: 2 });
      const generations = await openGenerations(application);
      const traffic = application.traffic({ rate: 200, users: 60 });
      const old = instance(application, 0, 'a', { plant: ['tenfold'] });
      await old.running();
      await application.progress(400);
      await prepare(application, 1);
      const candidate = instance(application, 1, 'a');
      await caughtUp(generations, candidate);
      let late: WorkerProcess | undefined;
      const given = promoteTo(generations, 1, {
        afterStep: async (step) => {
          if (step !== 'cut') return;
          late = instance(application, 0, 'late', { plant: ['tenfold'] });
          await Promise.all([isIdle(late), isIdle(old)]);
          assert.deepEqual(late.lines, [], 'it has not even joined');
          throw new Error('suspended for ever');
        },
      });
      await assert.rejects(given, /suspended for ever/);
      await assert.rejects(discard(generations, 1), /under way/);
      await abortPromotion(generations, 1);
      await Promise.all([old.running(), late?.running()]);
      await application.progress(400);
      await assert.rejects(discard(generations, 1), /instances of generation 1 run/);
      await promoteTo(generations, 1, {
        afterStep: (step) =>
          step === 'live' ? assert.rejects(discard(generations, 0), /taken over/) : undefined,
      });
      const later = instance(application, 0, 'later', { plant: ['tenfold'] });
      await Promise.all([isIdle(old), isIdle(later)]);
      assert.deepEqual(later.lines, []);
      await settled(generations, 1);
      await traffic.stop();
      await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
      const compared = compareWithFaultless(await readEvents(application), await faultless(application));
      report(t, { ...compared });
      await assert.rejects(discard(generations, 1), /is live/);
      await discard(generations, 0);
      assert.deepEqual((await readStatus(generations)).to_discard, []);
      const last = instance(application, 0, 'last');
      await isIdle(last);
      for (const one of [candidate, old, later, last]) await one.stop();
      await late?.stop();
    },
  );

  for (const step of sleepsAfter)
    test(
      `that sleeps across the cut after the step ${step} of a commit commits nothing when it wakes`,
      { timeout },
      async (t) => {
        const application = await Application.create(t, { partitions: 2 });
        const generations = await openGenerations(application);
        const traffic = application.traffic({ rate: 200, users: 60 });
        const old = instance(application, 0, 'a', { plant: ['tenfold'], sleepAfter: step });
        await old.running();
        await application.progress(400);
        await prepare(application, 1);
        const candidate = instance(application, 1, 'a');
        await caughtUp(generations, candidate);
        await old.sleep();
        await promoteTo(generations, 1);
        await settled(generations, 1);
        const committed = await application.committed();
        old.signal('SIGCONT');
        await isIdle(old);
        assert.deepEqual(await application.committed(), committed, 'its group has got nothing more');
        await traffic.stop();
        await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
        const compared = compareWithFaultless(await readEvents(application), await faultless(application));
        report(t, { step, ...compared });
        await candidate.stop();
        await old.stop();
      },
    );

  test(
    'of a release without generations is named by the promotion, which refuses to begin',
    { skip: releaseMissing(), timeout },
    async (t) => {
      const folder = await checkOutRelease();
      const { register } = await contractOf(folder);
      const application = await Application.create(t, { partitions: 2, register });
      await registerContract({ SCHEMA_REGISTRY_URL: registryUrl() }, application.cluster.prefix);
      const generations = await openGenerations(application);
      application.traffic({ rate: 100, users: 60 });
      const old = application.worker('old', {}, folder);
      await old.running(120_000);
      await application.progress(100);
      await prepare(application, 1);
      const candidate = instance(application, 1, 'a', {});
      await caughtUp(generations, candidate);
      await assert.rejects(
        promoteTo(generations, 1),
        (error) => error instanceof RefusedCommand && /old-consumer-|old.*at 127/.test(error.message),
      );
      assert.deepEqual((await readStatus(generations)).closing, null);
      await application.progress(100);
      await candidate.stop();
    },
  );
});
