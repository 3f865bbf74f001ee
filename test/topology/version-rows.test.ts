import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Priority } from '../../schemas/biometric-event.ts';
import { rememberedMs, shortHash } from '../../topology/packed.ts';
import {
  countVersions,
  findVersion,
  maxAlerts,
  noVersions,
  readOutcomes,
  readTold,
  readVersion,
  rememberedVersions,
  touch,
  versionsOf,
  versionTable,
  withResource,
  writeTold,
  writeVersion,
  type StoredVersion,
  type Told,
} from '../../topology/version-rows.ts';

const hashes = fc.constantFrom('00000000000000aa', '00000000000000bb', '00000000000000cc');
const instants = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const plain = { noNullPrototype: true };
const versions = fc.record(
  { revision: instants, given: instants, content: hashes, offset: fc.bigInt({ min: -1n, max: 2n ** 53n }) },
  plain,
);
const tolds = fc.record(
  {
    event_id: fc.uuid(),
    priority: fc.constantFrom<Priority>('HIGH', 'MEDIUM', 'NORMAL'),
    alert_ids: fc.oneof(fc.constant([]), fc.array(fc.uuid(), { maxLength: 3 })),
    outcome: hashes,
  },
  plain,
);

/** A row, as it should read. */
interface Row {
  version: StoredVersion;
  outcome: string;
  told: Told;
  touched: number;
}

test('rows read back as they were written, whatever happens to the rows beside them', () => {
  const step = fc.record({
    id: fc.integer({ min: 0, max: 5 }),
    version: versions,
    outcome: hashes,
    told: tolds,
    isTold: fc.boolean(),
    later: fc.constantFrom(0, 0, 0, rememberedMs / 2, rememberedMs + 1),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      let table: Buffer = noVersions;
      let now = 0;
      const rows = new Map<string, Row>();
      for (const { id, version, outcome, told, isTold, later } of steps) {
        now += later;
        const name = `r${id}`;
        const resource = Buffer.from(shortHash(name));
        for (const [other, { touched }] of rows) if (now - touched > rememberedMs) rows.delete(other);
        table = rememberedVersions(table, now);
        let at = findVersion(table, resource);
        const known = rows.get(name);
        assert.equal(at === -1, known === undefined);
        if (at === -1) ({ table, at } = withResource(table, resource));
        touch(table, at, now);
        table = writeVersion(table, at, version);
        if (known !== undefined && !isTold) {
          // As long as readers are told nothing, the outcome and what they have stay.
          rows.set(name, { ...known, version, touched: now });
        } else {
          table = writeTold(table, at, outcome, told);
          rows.set(name, { version, outcome, told, touched: now });
        }
        assert.equal(versionTable.deserialize(table), table);
        assert.equal(countVersions(table), rows.size);
        assert.equal(versionsOf(table).length, rows.size);
        for (const [other, row] of rows) {
          const place = findVersion(table, shortHash(other));
          const { outcome: toldOutcome, ...superseded } = row.told;
          assert.deepEqual(readVersion(table, place), row.version);
          assert.deepEqual(readOutcomes(table, place), { version: row.outcome, told: toldOutcome });
          assert.deepEqual(readTold(table, place), superseded);
        }
      }
    }),
    { numRuns: 500 },
  );
});

test('a version that raised nothing takes 60 bytes, and each alert 16 more, with 8 for the outcome', () => {
  const { table: one, at } = withResource(noVersions, shortHash('r'));
  const content = '00000000000000aa';
  const version = writeVersion(one, at, { revision: 1, given: 1, content, offset: 5n });
  const told = {
    event_id: '6f1c2a52-5d0e-8b86-9d0c-0d6f4f6f2b11',
    priority: 'NORMAL',
    alert_ids: [],
  } as const;
  const calm = writeTold(version, at, content, { ...told, outcome: content });
  assert.equal(calm.length, 1 + 60);
  const alert_ids = ['0d9e7a86-7f0c-8a38-8e0a-5f2f6d1c9e42', '8a7d8c1e-9f1b-8d5e-b2fb-3a2f8f1f7c10'];
  const outcome = '00000000000000bb';
  assert.equal(writeTold(calm, at, outcome, { ...told, alert_ids, outcome }).length, 1 + 60 + 8 + 32);
});

test('a table that was cut, or is of another layout, is refused', () => {
  const { table } = withResource(noVersions, shortHash('r'));
  for (const bytes of [table.subarray(0, -1), Buffer.from([...table, 0]), Buffer.of(2), Buffer.of(5), null])
    assert.throws(() => versionTable.deserialize(bytes), {
      code: 'INVARIANT',
      message: /layouts 1, 3 and 4: run the build that wrote it; or .*--reset/,
    });
});

test('a table of a build before names no alerts, and neither outcomes nor offsets are known', () => {
  const row = Buffer.alloc(51, 7);
  row[38] = 2;
  for (const [layout, bytes] of [
    [3, 51],
    [1, 45],
  ] as const) {
    const old = Buffer.concat([Buffer.of(layout), row.subarray(0, bytes), row.subarray(0, bytes)]);
    const table = versionTable.deserialize(old);
    assert.equal(countVersions(table), 2);
    const at = findVersion(table, row.subarray(0, 8));
    const revision = 0x070707070707;
    assert.deepEqual(readVersion(table, at), {
      revision,
      given: revision,
      content: '07'.repeat(8),
      offset: -1n,
    });
    assert.deepEqual(readTold(table, at), {
      event_id: '07070707-0707-0707-0707-070707070707',
      priority: 'MEDIUM',
      alert_ids: [],
    });
    assert.deepEqual(readOutcomes(table, at), { version: '0'.repeat(16), told: '0'.repeat(16) });
  }
});

test('more alerts than a row can hold are refused, not cut', () => {
  const { table, at } = withResource(noVersions, shortHash('r'));
  const alert_ids = Array.from({ length: maxAlerts + 1 }, () => '0d9e7a86-7f0c-8a38-8e0a-5f2f6d1c9e42');
  const told = { event_id: alert_ids[0]!, priority: 'HIGH', outcome: '00000000000000aa' } as const;
  assert.equal(
    readTold(writeTold(table, at, told.outcome, { ...told, alert_ids: alert_ids.slice(1) }), at)!.alert_ids
      .length,
    maxAlerts,
  );
  assert.throws(() => writeTold(table, at, told.outcome, { ...told, alert_ids }), RangeError);
});
