import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Alerts } from '../../../../consumers/neuros/alerts/alerts.ts';
import { claims } from '../../../../consumers/neuros/alerts/claims.ts';
import { note, noticeOf, type Part } from '../../../../consumers/neuros/alerts/ledger.ts';
import { memory, memoryStore } from '../../../../consumers/neuros/alerts/memory.ts';
import {
  again,
  begin,
  finish,
  first,
  other,
  shown,
  testAlerts,
  testClaims,
  user,
  version,
} from './contract.ts';

async function started(alerts: Alerts): Promise<Alerts> {
  await alerts.start('neuros');
  return alerts;
}

describe('alerts remembered in memory', () => {
  testAlerts(() => memory());

  test('a repetition whose first is not known is not announced, and its first is, even when it is older', async () => {
    const alerts = await started(memory());
    const mine = user();
    assert.deepEqual(await begin(alerts, version(2, [again], [first], mine)), []);
    assert.deepEqual(await finish(await begin(alerts, version(1, [first], undefined, mine))), ['announce']);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
  });

  test('a first that no row names any more is announced when it is raised again', async () => {
    const alerts = await started(memory());
    const mine = user();
    assert.deepEqual(await begin(alerts, version(2, [], [first], mine)), []);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
    assert.deepEqual(shown(await begin(alerts, version(3, [again], [], mine))), ['announce 1']);
  });

  test('a first that was withdrawn is not announced by its old event, when a stale one names it again', async () => {
    const alerts = await started(memory());
    const mine = user();
    await finish(await begin(alerts, version(1, [first], undefined, mine)));
    await finish(await begin(alerts, version(2, [], [first], mine)));
    assert.deepEqual(await begin(alerts, version(3, [again], [], mine), false), []);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
  });

  test('the users whose events are longest ago are forgotten', async () => {
    // A row and an alert each.
    const alerts = await started(memory({ maxEntries: 4 }));
    const [one, two, three] = [user(), user(), user()];
    for (const mine of [one, two]) await finish(await begin(alerts, version(1, [first], undefined, mine)));
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, one)), []);
    await finish(await begin(alerts, version(1, [first], undefined, three)));
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, one)), []);
    assert.equal((await begin(alerts, version(1, [first], undefined, two))).length, 1);
  });

  test('options that cannot be are refused', () => {
    assert.throws(() => memory({ maxEntries: 0 }), RangeError);
    assert.throws(() => claims(memoryStore({ maxEntries: 1 }), { leaseMs: 999 }), RangeError);
  });

  test('alerts that were not started say so', async () => {
    await assert.rejects(begin(memory(), version(1, [first])), /start/);
  });
});

describe('claims in any store', () => {
  const store = memoryStore({ maxEntries: 1_000_000, now: () => Math.floor(performance.now()) });
  testAlerts(() => claims(store));
  testClaims((leaseMs) => claims(store, { leaseMs }));

  test('the store decides, not first', async () => {
    const alerts = await started(claims(store));
    assert.deepEqual(shown(await begin(alerts, version(2, [again], [first], user()))), ['announce 1']);
  });

  test('an event without alerts that supersedes nothing asks nothing of the store', async () => {
    const alerts = claims({ ...store, update: () => Promise.reject(new Error('asked')) });
    await alerts.start('neuros');
    assert.deepEqual(await begin(alerts, version(1, [])), []);
    await assert.rejects(begin(alerts, version(2, [], [])), /asked/);
  });

  test('an event that is read again changes nothing, so nothing is written', () => {
    const notice = noticeOf(version(1, [first]), true);
    const empty: Part = { row: undefined, alerts: new Map() };
    const once = note(empty, notice, false);
    assert.equal(note(once.part, notice, false).part, once.part);
    assert.equal(note(once.part, noticeOf(version(0, [first]), true), false).part, once.part);
  });

  test('what a version supersedes is withdrawn even when the row of the version before it is gone', () => {
    const empty: Part = { row: undefined, alerts: new Map() };
    const { part } = note(empty, noticeOf(version(1, [first]), true), false);
    const alerts = new Map(
      [...part.alerts].map(([key, state]) => [key, { ...state, status: 'announced' as const, alert: first }]),
    );
    const { due } = note({ row: undefined, alerts }, noticeOf(version(2, [other], [first]), true), false);
    assert.deepEqual(
      due.map(({ kind, alert }) => `${kind} ${alert.alert_id.at(-1) ?? ''}`),
      ['withdraw 1', 'announce 2'],
    );
  });
});
