import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { StateStore } from '../../streams/store.ts';
import { alertsStore } from '../../topology/alerts.ts';
import { deletionHash } from '../../topology/events.ts';
import { shortHash, userKey } from '../../topology/packed.ts';
import {
  corrected,
  countDifferences,
  forgetUntold,
  removed,
  takeOverRow,
  unsupportedOf,
  type Alerts,
} from '../../topology/promotion.ts';
import { findRow, revisionsStore, rowsOf, type Revisions } from '../../topology/revisions.ts';
import {
  noOutcome,
  noVersions,
  readOutcomes,
  readTold,
  readVersion,
  touch,
  unknownOffset,
  unknownOutcome,
  withResource,
  withoutTold,
  writeTold,
  writeVersion,
  type Told,
} from '../../topology/version-rows.ts';
import { anEvent } from '../schemas/events.ts';

const hourMs = 3_600_000;
const owner = { vendor: 'oura', user: 'u' };
const at = Date.parse('2026-11-01T00:00:00Z');
const id = (digit: number): string => `${String(digit).repeat(8)}-0000-8000-8000-000000000000`;
const hash = (digit: number): string => String(digit).repeat(16);

interface RowOptions {
  readonly resource?: string;
  readonly offset?: bigint;
  readonly revision?: number;
  readonly content?: string;
  /** The outcome of its version. Default: of its content. */
  readonly outcome?: string;
  /** What readers were told. Default: the version, as event 1 without alerts. */
  readonly told?: Partial<Told> | null;
}

/** A row of a resource. */
function row(options: RowOptions = {}): Buffer {
  const { resource = 'r', offset = 10n, revision = 100, content = hash(5), outcome = content } = options;
  const started = withResource(noVersions, shortHash(resource));
  touch(started.table, started.at, at);
  const table = writeVersion(started.table, started.at, { revision, given: revision, content, offset });
  const told = { event_id: id(1), priority: 'NORMAL', alert_ids: [], outcome, ...options.told } as const;
  const whole = writeTold(table, started.at, outcome, told);
  return (options.told === null ? withoutTold(whole, started.at) : whole).subarray(1);
}

/** The store `revisions` with some rows of one user. */
function storeOf(...rows: readonly Buffer[]): { store: StateStore; revisions: Revisions } {
  const store = new StateStore({ ...revisionsStore, name: 'revisions' } as never, 'revisions', 0);
  store.onRecord(at);
  const revisions = store as unknown as Revisions;
  for (const one of rows) {
    const part = Buffer.of((one[0] ?? 0) >> 2);
    const before = revisions.get({ ...owner, part }) ?? noVersions;
    revisions.put({ ...owner, part }, Buffer.concat([before, one]));
  }
  store.foldIn();
  store.onRecord(at);
  return { store, revisions };
}

function alertsOf(...alerts: readonly string[]): Alerts {
  const store = new StateStore({ ...alertsStore, name: 'alerts' } as never, 'alerts', 0);
  store.onRecord(at);
  for (const alert of alerts)
    (store as unknown as Alerts).put(
      { ...owner, part: Buffer.from(alert.replaceAll('-', ''), 'hex') },
      Buffer.alloc(0),
    );
  return store as unknown as Alerts;
}

function stateOf(revisions: Revisions, resource = 'r') {
  const place = findRow(revisions, owner, shortHash(resource));
  if (place === undefined) return undefined;
  const { table, at: position } = place;
  const told = readTold(table, position);
  const outcomes = readOutcomes(table, position);
  return { ...readVersion(table, position), told, outcomes };
}

/** The entries of a changelog. */
function entriesOf(...rows: readonly Buffer[]) {
  return rows.map((one, n) => ({
    key: userKey.serialize({ ...owner, part: Buffer.of(n) })!,
    value: Buffer.concat([noVersions, one]),
  }));
}

test('of a resource that both have, readers were told what the live generation told', () => {
  const { revisions } = storeOf(row({ content: hash(5), told: { event_id: id(2) } }));
  const told = { event_id: id(1), priority: 'HIGH', alert_ids: [id(7)], outcome: hash(8) } as const;
  takeOverRow(revisions, owner, row({ offset: 3n, content: hash(6), told }), 0n);
  const state = stateOf(revisions);
  assert.deepEqual(state?.told, { event_id: id(1), priority: 'HIGH', alert_ids: [id(7)] });
  assert.deepEqual(state.outcomes, { version: hash(5), told: hash(8) });
  assert.equal(state.offset, 10n);
});

test('a row that is the same already is not written again', () => {
  const { store, revisions } = storeOf(row());
  takeOverRow(revisions, owner, row(), 0n);
  assert.equal(store.isDirty, false);
});

test('a row of which readers have nothing is not taken over', () => {
  const { revisions } = storeOf();
  takeOverRow(revisions, owner, row({ told: null }), 0n);
  assert.equal(stateOf(revisions), undefined);
});

test('a resource that only the live generation has is to be removed from the start on, and kept before it', () => {
  for (const [offset, outcome, revision] of [
    [10n, noOutcome, 1],
    [9n, hash(5), 100],
    [unknownOffset, hash(5), 100],
  ] as const) {
    const { revisions } = storeOf();
    takeOverRow(revisions, owner, row({ offset }), 10n);
    const state = stateOf(revisions);
    assert.deepEqual(state?.outcomes, { version: outcome, told: hash(5) });
    assert.equal(state.revision, revision);
    assert.equal(state.given, revision);
    assert.equal(state.offset, offset);
    assert.equal(state.told?.event_id, id(1));
  }
});

test('a deletion that only the live generation has stays one', () => {
  const { revisions } = storeOf();
  const content = deletionHash.slice(0, 16);
  takeOverRow(revisions, owner, row({ content }), 0n);
  assert.deepEqual(stateOf(revisions)?.outcomes, { version: content, told: content });
});

test('taking over again changes nothing', () => {
  const { store, revisions } = storeOf(row({ resource: 'both', told: { event_id: id(2) } }));
  const live = [
    row({ resource: 'both' }),
    row({ resource: 'gone' }),
    row({ resource: 'before', offset: 1n }),
  ];
  for (const one of live) takeOverRow(revisions, owner, one, 5n);
  store.foldIn();
  store.onRecord(at);
  const before = [...store.entries()];
  for (const one of live) takeOverRow(revisions, owner, one, 5n);
  store.foldIn();
  assert.deepEqual([...store.entries()], before);
});

test('an unknown outcome is that of ours where content and priority are, and then raised the same alerts', () => {
  const ours = { event_id: id(2), priority: 'HIGH', alert_ids: [id(7)], outcome: hash(8) } as const;
  const unknown = { event_id: id(1), outcome: unknownOutcome } as const;
  for (const [changes, told, alerts] of [
    [{}, hash(8), [id(7)]],
    [{ content: hash(6) }, unknownOutcome, []],
    [{ told: { ...unknown, priority: 'MEDIUM' } }, unknownOutcome, []],
  ] as const) {
    const { revisions } = storeOf(row({ outcome: hash(8), told: ours }));
    const live = { outcome: unknownOutcome, offset: unknownOffset, told: { ...unknown, priority: 'HIGH' } };
    takeOverRow(revisions, owner, row({ ...live, ...changes } as RowOptions), 0n);
    const state = stateOf(revisions);
    assert.equal(state?.outcomes.told, told);
    assert.deepEqual(state.told?.alert_ids, alerts);
    assert.equal(state.told.event_id, id(1));
  }
});

test('readers were told nothing of what only ours has, also once its bucket was divided', () => {
  const many = Array.from({ length: 40 }, (_, n) => `r${n}`).filter(
    (name) => shortHash(name)[0]! >> 2 === shortHash('r0')[0]! >> 2,
  );
  const { store, revisions } = storeOf(...many.map((resource) => row({ resource })));
  const entries = [...store.entries()];
  // As many of live as divide the bucket.
  for (let n = 0, added = 0; added < 40; n += 1) {
    const resource = `live${n}`;
    if (shortHash(resource)[0]! >> 2 !== shortHash('r0')[0]! >> 2) continue;
    takeOverRow(revisions, owner, row({ resource }), 0n);
    added += 1;
  }
  for (const [key, value] of entries)
    forgetUntold(revisions, { key, value }, (_, resource) => resource.equals(shortHash(many[1] ?? 'none')));
  assert.equal(stateOf(revisions, 'r0')?.told, null);
  assert.equal(stateOf(revisions, 'r0')?.outcomes.version, hash(5));
  for (const [n, name] of many.entries())
    assert.equal(stateOf(revisions, name)?.told === null, n !== 1, name);
});

const event = (changes: Partial<BiometricEvent> = {}): BiometricEvent =>
  anEvent({
    device_type: 'oura',
    user_id: 'u',
    resource_id: 'r',
    event_id: id(2),
    revision: 100,
    received_at: at,
    raw: { topic: 'raw.oura', partition: 0, offset: 10 },
    priority: 'HIGH',
    triggers: [{ ...anEvent().triggers[0]!, alert_id: id(7), first: true }],
    ...changes,
  });
const differing = row({ told: { outcome: hash(6), alert_ids: [id(6)], priority: 'MEDIUM' } });
const rules = { atMs: at, announces: true };

test('an event that comes to something else is a correction, once', () => {
  const { revisions } = storeOf(differing);
  const stores = { revisions, alerts: alertsOf() };
  const made = corrected(event(), stores, rules);
  assert.equal(made?.correction, 'changed');
  assert.deepEqual(made.event.supersedes, { event_id: id(1), priority: 'MEDIUM', alert_ids: [id(6)] });
  assert.equal(made.event.triggers[0]?.first, true);
  assert.deepEqual(stateOf(revisions)?.told, { event_id: id(2), priority: 'HIGH', alert_ids: [id(7)] });
  assert.deepEqual(stateOf(revisions)?.outcomes, { version: hash(5), told: hash(5) });
  assert.equal(corrected(event(), stores, rules), undefined);
});

test('an event of which readers have nothing is added', () => {
  const { revisions } = storeOf(row({ told: null }));
  const made = corrected(event(), { revisions, alerts: alertsOf() }, rules);
  assert.equal(made?.correction, 'added');
  assert.equal(made.event.supersedes, null);
});

for (const [why, rows, changes] of [
  ['that comes to the same', [row()], {}],
  ['of a resource that has expired', [], {}],
  ['of another raw record than the version', [differing], { raw: { ...event().raw, offset: 9 } }],
  ['of another version of the record', [differing], { revision: 99 }],
] as const)
  test(`an event ${why} is no correction`, () => {
    const { store, revisions } = storeOf(...rows);
    assert.equal(corrected(event(changes), { revisions, alerts: alertsOf() }, rules), undefined);
    assert.equal(store.isDirty, false);
  });

for (const [why, alerts, changes, isFirst, isNoted] of [
  ['that was never raised is announced', [], {}, true, true],
  ['that readers know is not', [id(7)], {}, false, true],
  ['of 48 hours ago is', [], { atMs: at + 48 * hourMs }, true, true],
  ['that is older is not, and may be later', [], { atMs: at + 48 * hourMs + 1 }, false, false],
  ['without announcements is not, and may be later', [], { announces: false }, false, false],
] as const)
  test(`an alert of a correction ${why}`, () => {
    const stores = { revisions: storeOf(differing).revisions, alerts: alertsOf(...alerts) };
    const made = corrected(event(), stores, { ...rules, ...changes });
    assert.equal(made?.event.triggers[0]?.first, isFirst);
    const part = Buffer.from(id(7).replaceAll('-', ''), 'hex');
    assert.equal(stores.alerts.get({ ...owner, part }) !== undefined, isNoted);
  });

test('what is to be removed is found from the start on', () => {
  const { revisions } = storeOf();
  takeOverRow(revisions, owner, row({ offset: 10n }), 0n);
  takeOverRow(revisions, owner, row({ resource: 'kept', offset: 4n }), 5n);
  const key = userKey.serialize({ ...owner, part: Buffer.of(0) })!;
  const { table } = findRow(revisions, owner, shortHash('r'))!;
  const found = (start: bigint) => unsupportedOf({ key, value: table }, () => start);
  assert.deepEqual(
    found(10n).map(({ offset, eventId, owner: of }) => [offset, eventId, of]),
    [[10n, id(1), owner]],
  );
  assert.deepEqual(found(11n), []);
  const { table: kept } = findRow(revisions, owner, shortHash('kept'))!;
  assert.deepEqual(
    unsupportedOf({ key, value: kept }, () => 5n).filter(({ offset }) => offset === 4n),
    [],
  );
});

test('a removal deletes the resource with the lowest revision, once, and not once another version stands for it', () => {
  const published = event({ event_id: id(1), generation: 0 });
  const { revisions } = storeOf();
  takeOverRow(revisions, owner, row({ told: { alert_ids: [id(7)], priority: 'HIGH' } }), 0n);
  const gone = removed(published, revisions, 3);
  assert.equal(gone?.deleted, true);
  assert.deepEqual(
    [gone.revision, gone.generation, gone.priority, gone.triggers, gone.hrv, gone.baseline],
    [1, 3, 'NORMAL', [], null, null],
  );
  assert.deepEqual(gone.supersedes, { event_id: id(1), priority: 'HIGH', alert_ids: [id(7)] });
  assert.notEqual(gone.event_id, published.event_id);
  assert.equal(stateOf(revisions)?.told?.event_id, gone.event_id);
  assert.equal(removed(published, revisions, 3), undefined);

  const { revisions: others } = storeOf();
  takeOverRow(others, owner, row({ told: { event_id: id(4) } }), 0n);
  assert.equal(removed(published, others, 3), undefined);
  assert.equal(removed(published, storeOf(row()).revisions, 3), undefined);
  assert.equal(removed(published, storeOf().revisions, 3), undefined);
});

test('differences are counted by resource, between the start and what the candidate has processed', () => {
  const count = (live: readonly Buffer[], ours: readonly Buffer[]) =>
    countDifferences(entriesOf(...live), entriesOf(...ours), { startOf: () => 5n, endOf: () => 20n });
  const zero = { changed: 0, added: 0, removed: 0, same: 0, before_start: 0 };
  const other = row({ content: hash(6) });
  assert.deepEqual(count([row()], [row()]), { ...zero, same: 1 });
  assert.deepEqual(count([row()], [other]), { ...zero, changed: 1 });
  assert.deepEqual(count([], [row()]), { ...zero, added: 1 });
  assert.deepEqual(count([row()], []), { ...zero, removed: 1 });
  assert.deepEqual(count([row()], [row({ content: hash(6), offset: 4n })]), { ...zero, before_start: 1 });
  // The live generation is ahead.
  assert.deepEqual(count([row({ offset: 20n })], [other]), zero);
  assert.deepEqual(count([row({ offset: 20n })], []), zero);
  assert.deepEqual(count([row({ offset: 4n })], []), zero);
  assert.deepEqual(count([row({ content: deletionHash.slice(0, 16) })], []), zero);
  const unknown = row({ offset: unknownOffset, outcome: unknownOutcome, told: { outcome: unknownOutcome } });
  assert.deepEqual(count([unknown], [row()]), { ...zero, same: 1 });
  assert.deepEqual(count([unknown], [other]), { ...zero, changed: 1 });
});

test('an entry that is a branch has no rows', () => {
  assert.deepEqual(rowsOf(Buffer.of(2)), []);
});
