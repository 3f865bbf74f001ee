import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Application } from '../faults/application.ts';
import { plants } from '../faults/plant.ts';
import { caughtUp, instance, openGenerations, prepare, promoteTo, settled } from '../faults/reprocessing.ts';
import { Live } from './live.ts';

const timeout = 240_000;

/** How the fault of a vendor shows in a comparison, besides in versions that newer ones have replaced. */
const shownAs: Readonly<Record<string, readonly string[]>> = {
  oura: ['changed', 're_routed', 'superseded', 'baseline_only'],
  whoop: ['added', 'superseded'],
  terra: ['no_longer_dead_lettered', 'superseded', 'other_reason'],
  healthkit: ['removed', 'superseded'],
};

test('planted faults differ before a promotion, and nothing does after it', { timeout }, async (t) => {
  const application = await Application.create(t, { partitions: 2 });
  const live = Live.of(application);
  const generations = await openGenerations(application);
  const traffic = application.traffic({ rate: 300, users: 60 });
  const old = instance(application, 0, 'a', { plant: plants });
  await old.running();
  await application.progress(500);
  await traffic.stop();
  await application.drained();
  const before = await live.report(3);
  for (const { device, classes } of before.devices)
    for (const name of Object.keys(classes)) assert.ok(shownAs[device]?.includes(name), `${device}: ${name}`);
  assert.ok(before.differences > 30);

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
