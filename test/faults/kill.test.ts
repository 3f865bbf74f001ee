import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Application } from './application.ts';
import { longestWaitMs, rounds, seeded } from './settings.ts';

const kills = Math.max(3, rounds(3));

test(
  'instances that are killed at random moments lose and repeat nothing, and leave the state of a recomputation',
  { timeout: 120_000 + kills * 60_000 },
  async (t) => {
    const random = seeded(t, 'kill');
    const application = await Application.create(t);
    const traffic = application.traffic();
    const reader = await application.reader();
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    for (let kill = 0; kill < kills; kill += 1) {
      // One in four falls into the restart before it: a group that rebalances, stores that are half restored.
      if (random() < 0.75) await application.progress();
      await sleep(random() * 2_000);
      const victim = Math.floor(random() * workers.length);
      await workers[victim]!.kill();
      workers[victim] = application.worker(`i${victim}`);
    }
    await Promise.all(workers.map((worker) => worker.running()));
    await application.progress();
    const sent = await traffic.stop();
    await application.drained();
    await reader.caughtUp();
    const waits = await reader.stop();
    await application.audit({ kills, sent, waits });
    assert.ok(
      waits.longest_blocked_ms <= longestWaitMs,
      `a reader of committed records waited longer than ${longestWaitMs} ms: ${JSON.stringify(waits)}`,
    );
    for (const worker of workers) await worker.stop();
  },
);
