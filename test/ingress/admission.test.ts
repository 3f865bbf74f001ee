import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createByteBudget, createAdmissionQueue } from '../../ingress/admission.ts';

const limits = { places: 2, maxWaiting: 2, maxWaitMs: 5_000 };

test('free places are taken at once', () => {
  const line = createAdmissionQueue(limits);
  assert.equal(line.enter(), 'entered');
  assert.equal(line.enter(), 'entered');
  assert.equal(line.inHand, 2);
});

test('waiters are admitted in the order of their arrival', async () => {
  const line = createAdmissionQueue(limits);
  assert.equal(line.enter(), 'entered');
  assert.equal(line.enter(), 'entered');
  const order: string[] = [];
  const third = Promise.resolve(line.enter()).then((turn) => order.push(`third ${turn}`));
  const fourth = Promise.resolve(line.enter()).then((turn) => order.push(`fourth ${turn}`));
  assert.equal(line.waiting, 2);
  line.leave();
  await third;
  line.leave();
  await fourth;
  assert.deepEqual(order, ['third entered', 'fourth entered']);
  assert.equal(line.inHand, 2);
  line.leave();
  line.leave();
  assert.equal(line.inHand, 0);
});

test('a full queue admits no more waiters', () => {
  const line = createAdmissionQueue({ places: 1, maxWaiting: 0, maxWaitMs: 5_000 });
  assert.equal(line.enter(), 'entered');
  assert.equal(line.enter(), 'full');
});

test('a waiter that times out is rejected and holds no place', async () => {
  const line = createAdmissionQueue({ places: 1, maxWaiting: 5, maxWaitMs: 5 });
  assert.equal(line.enter(), 'entered');
  assert.equal(await line.enter(), 'late');
  assert.equal(line.waiting, 0);
  line.leave();
  assert.equal(line.inHand, 0);
});

test('a waiter that leaves the queue is skipped', async () => {
  const line = createAdmissionQueue(limits);
  assert.equal(line.enter(), 'entered');
  assert.equal(line.enter(), 'entered');
  let leave = (): void => undefined;
  const gone = line.enter((leaveLine) => {
    leave = leaveLine;
  });
  const next = line.enter();
  leave();
  assert.equal(await gone, 'gone');
  line.leave();
  assert.equal(await next, 'entered');
  leave();
  assert.equal(line.inHand, 2);
});

test('a budget grants what it has and is repaid once', () => {
  const budget = createByteBudget(100);
  const first = budget.lease();
  const second = budget.lease();
  assert.equal(first.take(60), true);
  assert.equal(second.take(41), false);
  assert.equal(second.take(40), true);
  assert.equal(budget.taken, 100);
  first.release();
  first.release();
  assert.equal(budget.taken, 40);
  second.release();
  assert.equal(budget.taken, 0);
});
