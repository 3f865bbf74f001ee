import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Application } from './application.ts';
import { stackOf } from './broken-stack.ts';
import { rounds, seeded } from './settings.ts';

const times = rounds(1);

test(
  'nothing is lost or repeated when the only broker restarts or is killed',
  { timeout: 120_000 + times * 120_000 },
  async (t) => {
    const random = seeded(t, 'broker');
    const stack = await stackOf(t, 1);
    const application = await Application.create(t);
    const [broker] = stack.kafka.brokers;
    assert.ok(broker);
    const traffic = application.traffic({ rate: 150 });
    const workers = ['i0', 'i1'].map((id) => application.worker(id));
    await Promise.all(workers.map((worker) => worker.running()));
    for (let round = 0; round < times; round += 1) {
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await application.progress(100);
        await sleep(random() * 500);
        await broker.stop(signal);
        await broker.start();
      }
    }
    await application.progress(100);
    const sent = await traffic.stop();
    await application.audit({ restarts: times, kills: times, sent });
    for (const worker of workers) await worker.stop();
    await stack.stop();
  },
);
