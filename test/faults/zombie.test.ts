import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);
const timeout = 120_000 + times * 90_000;

describe('a process that was asleep', { concurrency: true, timeout }, () => {
  // Behind the changelogs the group refuses its offsets; behind the offsets the coordinator has ended its transaction.
  for (const step of ['changelogs', 'offsets'] as const) {
    test(`commits nothing after sleeping past its session after the step ${step} while others have taken over`, async (t) => {
      const random = seeded(t, `zombie-${step}`);
      const application = await Application.create(t);
      const traffic = application.traffic({ rate: 150 });
      const workers = ['i0', 'i1'].map((id) => application.worker(id, { sleepAfter: step }));
      await Promise.all(workers.map((worker) => worker.running()));
      let refusals = 0;
      for (let round = 0; round < times; round += 1) {
        await application.progress(200);
        const zombie = workers[Math.floor(random() * workers.length)]!;
        await zombie.sleep();
        // The other one gets all tasks once the group has given the sleeper up and no transaction hides its offsets.
        await application.passed(await application.ends());
        const before = zombie.log.length;
        zombie.signal('SIGCONT');
        await until(
          'the sleeper to be refused',
          () => /"reason":"[A-Z_]+"/.test(zombie.log.slice(before)) || undefined,
        );
        refusals += 1;
        await until(
          'both to run again',
          () => workers.every(({ state }) => state === 'RUNNING') || undefined,
          60_000,
        );
      }
      await application.progress(200);
      const sent = await traffic.stop();
      const reasons = workers.flatMap(({ log }) => log.match(/(?<="reason":")[A-Z_]+(?=")/g) ?? []);
      await application.audit({ refusals, reasons: [...new Set(reasons)], sent });
      for (const worker of workers) await worker.stop();
    });
  }

  test('continues where it was after 20 s of sleep, alone in its group', async (t) => {
    const random = seeded(t, 'sleep');
    const application = await Application.create(t);
    const traffic = application.traffic({ rate: 150 });
    const worker = application.worker('i0');
    await worker.running();
    for (let round = 0; round < times; round += 1) {
      await application.progress(200);
      await sleep(random() * 500);
      worker.signal('SIGSTOP');
      await sleep(20_000);
      worker.signal('SIGCONT');
      await application.passed(await application.ends());
    }
    const sent = await traffic.stop();
    await application.audit({ sleeps: times, sent });
    await worker.stop();
    assert.equal(sent.failed_sends, 0);
  });
});
