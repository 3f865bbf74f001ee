import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);
const steps = ['begin', 'outputs', 'changelogs', 'offsets', 'during commit', 'commit'] as const;

// Most of each test is spent waiting for the group to give up the dead member.
describe('a process that dies', { concurrency: 3, timeout: 180_000 + times * 150_000 }, () => {
  for (const step of steps) {
    const moment =
      step === 'during commit' ? 'while its commit is under way' : `after the step ${step} of a commit`;
    test(`${moment} loses nothing, repeats nothing, and leaves the state of a recomputation`, async (t) => {
      const random = seeded(t, step);
      const application = await Application.create(t);
      const traffic = application.traffic({ rate: 100 });
      for (let round = 0; round < times; round += 1) {
        const crash = {
          step,
          transaction: 1 + Math.floor(random() * 20),
          delayMs: Math.floor(random() * 4),
        };
        assert.equal(await application.worker('i0', { crash }).ended(), 'SIGKILL');
      }
      const successor = application.worker('i0');
      await successor.running();
      await application.progress();
      const sent = await traffic.stop();
      await application.audit({ deaths: times, sent });
      await successor.stop();
    });
  }
});
