import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from './application.ts';
import { plants } from './plant.ts';
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
import { report } from './settings.ts';

const timeout = 240_000;

test(
  'after a promotion readers have what a build without the planted faults would have given them',
  { timeout },
  async (t) => {
    const application = await Application.create(t, { partitions: 2 });
    const generations = await openGenerations(application);
    const traffic = application.traffic({ rate: 200, users: 60 });
    const old = instance(application, 0, 'a', { plant: plants });
    await old.running();
    await application.progress(400);
    await prepare(application, 1);
    const candidate = instance(application, 1, 'a');
    const status = await caughtUp(generations, candidate);
    const differences = status.candidate?.differences;
    assert.ok(differences);
    assert.ok(differences.changed > 0 && differences.added > 0, JSON.stringify(differences));
    await promoteTo(generations, 1);
    await settled(generations, 1);
    await traffic.stop();
    await application.cluster.drained(application.rawTopics, generations.groupOf(1), 60_000);
    const compared = compareWithFaultless(await readEvents(application), await faultless(application));
    report(t, { ...differences, ...compared });
    await candidate.stop();
    await old.stop();
  },
);
