import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore, type StoreSpec } from '../../streams/store.ts';
import { shortHash } from '../../topology/packed.ts';
import { forgetUntold, takeOverRow } from '../../topology/promotion.ts';
import { findRow, insertRow, revisionsStore, type Revisions } from '../../topology/revisions.ts';
import {
  noVersions,
  readOutcomes,
  readTold,
  unknownOutcome,
  versionsOf,
  withoutTold,
  withResource,
  writeTold,
  writeVersion,
} from '../../topology/version-rows.ts';

const owner = { vendor: 'oura', user: 'u' } as const;
const resource = shortHash('r');
const ours = '00000000000000aa';

/** A row of a resource whose version has an outcome, and of which readers were told something. */
function row(content: string, outcome: string, priority: 'HIGH' | 'NORMAL'): Buffer {
  const { table, at } = withResource(noVersions, resource);
  const version = writeVersion(table, at, { revision: 1_000, given: 1_000, content, offset: 7n });
  const told = { event_id: '00000000-0000-0000-0000-000000000001', priority, alert_ids: [], outcome };
  const [only] = versionsOf(writeTold(version, at, outcome, told));
  assert.ok(only !== undefined);
  return only;
}

function stored(): Revisions {
  const revisions = new StateStore({ name: 'revisions', ...revisionsStore } as StoreSpec, 'changelog', 0);
  revisions.onRecord(1_000);
  insertRow(revisions as unknown as Revisions, owner, row(ours, ours, 'HIGH'), 1_000);
  return revisions as unknown as Revisions;
}

function outcomes(revisions: Revisions): { version: string; told: string } {
  const place = findRow(revisions, owner, resource);
  assert.ok(place !== undefined);
  return readOutcomes(place.table, place.at);
}

test('a takeover that is repeated, because its transaction was aborted, finds the same differences', () => {
  for (const [live, told] of [
    [row(ours, unknownOutcome, 'NORMAL'), unknownOutcome],
    [row(ours, unknownOutcome, 'HIGH'), ours],
    [row('00000000000000bb', '00000000000000cc', 'HIGH'), '00000000000000cc'],
  ] as const) {
    const revisions = stored();
    for (let times = 1; times <= 3; times += 1) {
      assert.notEqual(takeOverRow(revisions, owner, live, 0n).result, 'untold');
      assert.deepEqual(outcomes(revisions), { version: ours, told }, `the ${times}. time`);
    }
  }
});

test('a version of which the live generation knows but has told nobody counts as untold', () => {
  const { table, at } = { table: Buffer.concat([noVersions, row(ours, ours, 'HIGH')]), at: 1 };
  const [live] = versionsOf(withoutTold(table, at));
  assert.ok(live !== undefined);
  const revisions = stored();
  assert.equal(takeOverRow(revisions, owner, live, 0n).result, 'untold');
  const place = findRow(revisions, owner, resource);
  assert.ok(place !== undefined);
  const key = revisionsStore.key.serialize(place.key);
  assert.ok(key !== null);
  forgetUntold(revisions, { key, value: place.table }, () => false);
  const after = findRow(revisions, owner, resource);
  assert.equal(after && readTold(after.table, after.at), null);
});
