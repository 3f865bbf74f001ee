import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../streams/index.ts';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { rounds, seeded } from './settings.ts';
import type { WorkerProcess } from './worker-process.ts';

/** How long they come and go. */
const churnMs = rounds(1) * 15_000;

test(
  'three instances that are started, stopped and killed in random order lose and repeat nothing',
  { timeout: 180_000 + churnMs * 4 },
  async (t) => {
    const random = seeded(t, 'churn');
    const application = await Application.create(t);
    const traffic = application.traffic();
    const reader = await application.reader();
    const done = { starts: 0, stops: 0, kills: 0 };
    const end = performance.now() + churnMs;

    let hasFailed = false;
    /** One place, taken again and again; at last by an instance that stays. */
    const comeAndGo = async (id: string, chance: () => number): Promise<WorkerProcess> => {
      for (;;) {
        await sleep(chance() * 1_500);
        if (hasFailed) throw new Error('another place has failed');
        const worker = application.worker(id);
        done.starts += 1;
        if (performance.now() > end) return worker;
        // A process that has not come as far as to have a state does not listen to signals yet.
        await until(`a state of ${id}`, () => worker.state);
        await sleep(chance() * 5_000);
        if (chance() < 0.5) {
          done.stops += 1;
          await worker.stop();
        } else {
          done.kills += 1;
          await worker.kill();
        }
      }
    };
    const workers = await Promise.all(
      ['i0', 'i1', 'i2'].map((id) =>
        comeAndGo(id, seededRandom(Math.floor(random() * 2 ** 31))).catch((error: unknown) => {
          hasFailed = true;
          throw error;
        }),
      ),
    );
    await Promise.all(workers.map((worker) => worker.running()));
    await application.progress();
    const sent = await traffic.stop();
    await application.drained();
    await reader.caughtUp();
    await application.audit({ ...done, sent, waits: await reader.stop() });
    assert.ok(done.stops + done.kills > 0, 'no instance was ever stopped or killed');
    for (const worker of workers) await worker.stop();
  },
);
