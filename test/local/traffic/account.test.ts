import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Account, hashOf, type ReadEvent } from '../../../local/traffic/account.ts';
import type { Delivery, Expectation, ExpectedEvent } from '../../../local/traffic/deliveries.ts';
import type { Version } from '../../../schemas/version-order.ts';

const event: ExpectedEvent = {
  device_type: 'oura',
  user_id: 'u',
  resource_id: 'r',
  timestamp: 1,
  hrv: 20,
  sleep_score: null,
  recovery_score: null,
  stress_level: null,
  activity_data: {},
  priority: 'HIGH',
  triggers: ['URGENT_INTERVENTION'],
};

function delivery(body: string, expect: Expectation): Delivery {
  return { kind: 'some', device: 'oura', body: Buffer.from(body), headers: {}, expect };
}

function expecting(body: string, of: ExpectedEvent = event): Delivery {
  return delivery(body, { outcome: 'event', status: 200, event: of });
}

function raw(account: Account, body: string, offset: bigint): string {
  const ref = `raw.oura-0@${offset}`;
  account.rawRead({ ref, topic: 'raw.oura', partition: 0, offset, bodyHash: hashOf(Buffer.from(body)) });
  return ref;
}

const read = (ref: string, of: ExpectedEvent = event, changes: Partial<Version> = {}): ReadEvent => {
  const offset = Number(ref.split('@')[1]);
  return { ...of, raw: ref, version: { generation: 0, revision: offset, raw: { offset }, ...changes } };
};
const committedTo = (offset: bigint) => () => offset;

test('an accepted webhook whose event arrives balances, with its latency', () => {
  const account = new Account();
  account.answered(expecting('a'), 200, 100);
  account.outputRead(raw(account, 'a', 0n), 112, read('raw.oura-0@0'));
  const { summary, faults, newest } = account.balance(committedTo(1n));
  assert.deepEqual(faults, []);
  assert.equal(newest.length, 1);
  assert.deepEqual(summary, {
    sent: { some: 1 },
    accepted: 1,
    events: { high: 1, medium: 0, normal: 0 },
    dead_letters: 0,
    dropped: 0,
    postgres_rows: 0,
    alerts: 0,
    withdrawn: 0,
    duplicates: 0,
    missing: 0,
    p50_ms: 12,
    p99_ms: 12,
  });
});

test('an accepted webhook is missing while its raw record or its event is', () => {
  const account = new Account();
  account.answered(expecting('a'), 200, 0);
  assert.equal(account.balance(committedTo(0n)).summary.missing, 1);
  const ref = raw(account, 'a', 0n);
  assert.equal(account.balance(committedTo(0n)).summary.missing, 1);
  account.outputRead(ref, 1, read(ref));
  assert.equal(account.balance(committedTo(0n)).summary.missing, 0);
});

test('a raw record with two outputs counts as one duplicate', () => {
  const account = new Account();
  account.answered(expecting('a'), 200, 0);
  const ref = raw(account, 'a', 0n);
  account.outputRead(ref, 1, read(ref));
  account.outputRead(ref, 2, read(ref));
  assert.equal(account.balance(committedTo(1n)).summary.duplicates, 1);
});

test('a dead letter beside an event is a duplicate, a version of another generation is none, and the newer one holds', () => {
  for (const [other, duplicates, faults] of [
    [undefined, 1, []],
    [{ generation: 1 }, 0, []],
    [{ generation: 1, hrv: 55 }, 0, ['a some became another event (raw.oura-0@0)']],
  ] as const) {
    const account = new Account();
    account.answered(expecting('a'), 200, 0);
    const ref = raw(account, 'a', 0n);
    account.outputRead(ref, 1, read(ref));
    const { generation = 0, ...changes } = other ?? {};
    account.outputRead(ref, 2, other && read(ref, { ...event, ...changes }, { generation }));
    const balance = account.balance(committedTo(1n));
    assert.deepEqual([balance.summary.duplicates, balance.faults], [duplicates, faults]);
  }
});

test('a version that readers would take for older than the one before it is a fault', () => {
  const account = new Account();
  for (const [offset, body] of ['a', 'b'].entries()) {
    const of = { ...event, hrv: 20 + offset };
    account.answered(expecting(body, of), 200, 0);
    const ref = raw(account, body, BigInt(offset));
    account.outputRead(ref, 1, read(ref, of, { revision: 9 - offset }));
  }
  assert.deepEqual(account.balance(committedTo(2n)).faults, [
    'a some became a version that is not newer than the one before it (raw.oura-0@1)',
  ]);
});

test('a retry has to be dropped, and a sink has to hold what it repeats', () => {
  const account = new Account();
  for (const offset of [0n, 1n]) {
    account.answered(expecting('a'), 200, 0);
    const ref = raw(account, 'a', offset);
    if (offset === 0n) account.outputRead(ref, 1, read(ref));
  }
  const { summary, newest, faults } = account.balance(committedTo(2n));
  assert.deepEqual([summary.events.high, summary.dropped, faults], [1, 1, []]);
  assert.deepEqual(
    newest.map((entry) => entry.raw.offset),
    [0n],
  );
  const repeated = 'raw.oura-0@1';
  account.outputRead(repeated, 2, read(repeated));
  assert.deepEqual(account.balance(committedTo(2n)).faults, [`a some was not dropped (${repeated})`]);
});

test('a retry after a correction is a version of its own, because only the order of arrival can decide', () => {
  const account = new Account();
  const corrected = { ...event, hrv: 55 };
  for (const [offset, body] of [
    [0n, 'a'],
    [1n, 'b'],
    [2n, 'a'],
  ] as const) {
    const of = body === 'a' ? event : corrected;
    account.answered(delivery(body, { outcome: 'event', status: 200, event: of }), 200, 0);
    const ref = raw(account, body, offset);
    account.outputRead(ref, 1, read(ref, of));
  }
  const { summary, newest, faults } = account.balance(committedTo(3n));
  assert.deepEqual([summary.dropped, summary.missing, faults], [0, 0, []]);
  assert.equal(newest[0]?.raw.offset, 2n);
});

test('an event that is not the expected one is a fault', () => {
  const account = new Account();
  account.answered(expecting('a'), 200, 0);
  const ref = raw(account, 'a', 0n);
  account.outputRead(ref, 1, read(ref, { ...event, hrv: 21 }));
  assert.deepEqual(account.balance(committedTo(1n)).faults, ['a some became another event (raw.oura-0@0)']);
});

test('a drop counts only after the topology has committed past it, and only without an output', () => {
  const account = new Account();
  account.answered(delivery('a', { outcome: 'dropped', status: 200 }), 200, 0);
  const ref = raw(account, 'a', 5n);
  assert.equal(account.balance(committedTo(5n)).summary.missing, 1);
  assert.equal(account.balance(committedTo(6n)).summary.dropped, 1);
  account.outputRead(ref, 1, read(ref));
  assert.deepEqual(account.balance(committedTo(6n)).faults, ['a some was not dropped (raw.oura-0@5)']);
});

test('a malformed body is accounted for by its dead letter', () => {
  const account = new Account();
  account.answered(delivery('{', { outcome: 'dead_letter', status: 400 }), 400, 0);
  account.outputRead(raw(account, '{', 0n), 1, undefined);
  const { summary, faults } = account.balance(committedTo(1n));
  assert.equal(summary.dead_letters, 1);
  assert.equal(summary.accepted, 1);
  assert.deepEqual(faults, []);
});

test('an answer with an unexpected status is a fault, and a refused request does not count as accepted', () => {
  const account = new Account();
  account.answered(delivery('a', { outcome: 'refused', status: 401 }), 401, 0);
  account.answered(delivery('b', { outcome: 'refused', status: 401 }), 200, 0);
  const { summary, faults } = account.balance(committedTo(0n));
  assert.equal(summary.accepted, 0);
  assert.deepEqual(faults, ['a some was answered 200 instead of 401']);
});
