import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from '../faults/application.ts';
import type { Plant } from '../faults/plant.ts';
import { caughtUp, instance, openGenerations, prepare, promoteTo, settled } from '../faults/reprocessing.ts';
import { Live } from './live.ts';

const timeout = 240_000;

/** How a fault shows in a comparison, besides in versions that newer ones have replaced. */
const shownAs: Readonly<Record<Plant, readonly string[]>> = {
  tenfold: ['changed', 're_routed', 'superseded', 'baseline_only'],
  silent: ['added', 'superseded'],
  unreadable: ['no_longer_dead_lettered', 'superseded', 'other_reason'],
};

for (const [plant, classes] of Object.entries(shownAs) as [Plant, readonly string[]][])
  test(`the fault ${plant} differs before a promotion, and nothing after it`, { timeout }, async (t) => {
    const application = await Application.create(t, { partitions: 2 });
    const live = Live.of(application);
    const generations = await openGenerations(application);
    const traffic = application.traffic({ rate: 300, users: 60 });
    const old = instance(application, 0, 'a', { plant });
    await old.running();
    await application.progress(500);
    await traffic.stop();
    await application.drained();
    const before = await live.report(3);
    const found = new Set(before.devices.flatMap((device) => Object.keys(device.classes)));
    for (const name of found) assert.ok(classes.includes(name), name);
    assert.ok(before.differences > 10);

    await prepare(application, 1);
    const candidate = instance(application, 1, 'a');
    await caughtUp(generations, candidate);
    await promoteTo(generations, 1);
    await settled(generations, 1);
    const after = await live.report(0);
    assert.equal(after.differences, 0);
    assert.equal(
      after.devices.reduce((sum, { compared }) => sum + compared, 0),
      before.devices.reduce((sum, { compared }) => sum + compared, 0),
    );
    await candidate.stop();
    await old.stop();
  });
