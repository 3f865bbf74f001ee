import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readStatus } from '../../replay/status.ts';
import { until } from '../streams/until.ts';
import { plants } from './plant.ts';
import { candidate, deployed, ended, instance, promoteTo } from './reprocessing.ts';

const timeout = 240_000;

test(
  'after a promotion readers have what a build without the planted faults would have given them',
  { timeout },
  async (t) => {
    const deployment = await deployed(t, { plant: plants }, { rate: 200 });
    await candidate(deployment);
    const { differences } = (await readStatus(deployment.generations)).candidate ?? {};
    assert.ok(differences);
    const { changed, added, removed } = differences;
    assert.ok(changed > 0 && added > 0 && removed > 0, JSON.stringify(differences));
    await promoteTo(deployment.generations, 1);
    await ended(t, deployment, differences);
  },
);

test(
  'corrections go on where they were when an instance joins, and leaves, in the middle of them',
  { timeout },
  async (t) => {
    const deployment = await deployed(t, { plant: plants });
    const { application, generations } = deployment;
    // More than fit into the first transactions of both instances.
    await application.progress(800);
    const first = await candidate(deployment, 1, { holdsCorrections: true });
    await promoteTo(generations, 1);
    const allHave = async (done: boolean): Promise<boolean> =>
      (await generations.tasks(1)).every(({ corrections }) => corrections?.done === done);
    await until('the first corrections', async () => (await allHave(false)) || undefined, 60_000);
    const second = instance(application, 1, 'b', { holdsCorrections: true });
    await second.running();
    assert.ok(second.lines.some((line) => line.startsWith('RESTORED')));
    assert.ok(await allHave(false));
    await second.stop();
    first.signal('SIGUSR2');
    await ended(t, deployment);
  },
);
