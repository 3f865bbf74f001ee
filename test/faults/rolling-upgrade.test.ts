import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { until } from '../streams/until.ts';
import { Application } from './application.ts';
import { checkOutRelease } from './release-before.ts';
import type { WorkerProcess } from './worker-process.ts';

/** The tasks that a worker was given last. */
function tasksOf({ log }: WorkerProcess): number[] {
  const entries = log.split('\n').filter((line) => line.includes('"tasks assigned"'));
  const { tasks } = JSON.parse(entries.at(-1) ?? '{}') as { tasks?: number[] };
  return tasks ?? [];
}

/** The records that a worker has restored its tasks from. */
function restoredBy({ lines }: WorkerProcess): number {
  return lines
    .filter((line) => line.startsWith('RESTORED '))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

describe('a rolling upgrade', () => {
  let release = '';
  before(
    async () => {
      release = await checkOutRelease();
    },
    { timeout: 400_000 },
  );

  test(
    'this build and the release before share a group, either leading, and lose and repeat nothing, there and back',
    { timeout: 180_000 },
    async (t) => {
      const application = await Application.create(t);
      const traffic = application.traffic();
      const start = async (id: string, folder?: string): Promise<WorkerProcess> => {
        const worker = application.worker(id, {}, folder);
        await worker.running();
        return worker;
      };
      /** Waits until they have divided the tasks evenly, and every partition has moved on in their hands. */
      const work = async (...workers: WorkerProcess[]): Promise<void> => {
        const each = application.partitions / workers.length;
        await until('an even division of the tasks', () => {
          const held = workers.map(tasksOf);
          const isEven =
            held.every(({ length }) => length === each) &&
            new Set(held.flat()).size === application.partitions;
          return isEven || undefined;
        });
        await Promise.all(workers.map((worker) => worker.running()));
        await application.progress(200);
        await application.passed(await application.ends());
      };

      // The member that was in the group first leads it, until it leaves.
      let old = await start('old', release);
      await work(old);
      const young = await start('new');
      await work(old, young);
      assert.ok(restoredBy(young) > 0, 'this build has restored nothing that the release before had written');
      await old.stop();
      await work(young);
      old = await start('old', release);
      await work(young, old);
      assert.ok(restoredBy(old) > 0, 'the release before has restored nothing that this build had written');
      await old.stop();
      await work(young);
      // And back, because the new one crashes.
      old = await start('old', release);
      await work(young, old);
      await young.kill();
      await work(old);

      const sent = await traffic.stop();
      const { state_entries } = await application.audit({ sent });
      assert.ok(state_entries > 0, 'no state was compared');
      await old.stop();
    },
  );
});
