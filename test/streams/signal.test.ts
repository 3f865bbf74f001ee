import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeadlineError, settlesWithin, within } from '../../process/deadline.ts';
import { Signal } from '../../streams/signal.ts';
import { soon } from './until.ts';

const never = new Promise<never>(() => undefined);
const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;

describe('a signal', () => {
  test('wakes everybody who waits, once, and leaves no timer', async () => {
    const signal = new Signal();
    const before = timers();
    const waiting = Promise.all([signal.wait(60_000), signal.wait(60_000)]);
    assert.equal(timers(), before + 2);
    signal.notify();
    signal.notify();
    await soon('both', waiting);
    assert.equal(timers(), before);
  });

  test('lets go after the time, and a later notify finds nobody', async () => {
    const signal = new Signal();
    await soon('the time', signal.wait(1));
    signal.notify();
  });

  test('may be waited for again by whom it wakes', async () => {
    const signal = new Signal();
    const twice = signal.wait(60_000).then(() => signal.wait(60_000));
    signal.notify();
    await Promise.resolve();
    await Promise.resolve();
    signal.notify();
    await soon('the second', twice);
  });
});

describe('a deadline', () => {
  test('passes on what comes in time, and leaves no timer', async () => {
    const before = timers();
    assert.equal(await within(Promise.resolve(5), 60_000, 'a step'), 5);
    await assert.rejects(within(Promise.reject(new Error('why')), 60_000, 'a step'), { message: 'why' });
    assert.equal(timers(), before);
  });

  test('names the step that took too long', async () => {
    await assert.rejects(within(never, 1, 'a step'), new DeadlineError('a step took longer than 1 ms'));
  });

  test('tells settled from unsettled', async () => {
    assert.equal(await settlesWithin(Promise.reject(new Error('why')), 60_000), true);
    assert.equal(await settlesWithin(never, 1), false);
  });
});
