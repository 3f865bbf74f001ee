import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { NeurosTestDriver, type Alert } from '../../../consumers/neuros/index.ts';
import { samples } from '../../../consumers/neuros/samples/index.ts';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { EncodeError } from '../../../schemas/codec.ts';
import { anEvent } from '../../schemas/events.ts';

const trigger = (alert_id: string, first = true): Alert => ({ ...anEvent().triggers[0]!, alert_id, first });
const version = (revision: number, alerts: readonly Alert[], changes: Partial<BiometricEvent> = {}) =>
  anEvent({ revision, flags: [], triggers: alerts, event_id: `v${revision}`, ...changes });

describe('the test driver', () => {
  it('calls onEvent, then onWithdrawn, then onAlert for one event', async () => {
    const calls: string[] = [];
    const driver = new NeurosTestDriver({
      onEvent: ({ event_id }) => void calls.push(`event ${event_id}`),
      onAlert: ({ alert_id }) => void calls.push(`alert ${alert_id}`),
      onWithdrawn: ({ alert_id }) => void calls.push(`withdrawn ${alert_id}`),
    });
    const supersedes = { event_id: 'v1', priority: 'HIGH', alert_ids: ['a'] } as const;
    await driver.pipe(version(1, [trigger('a')]), version(2, [trigger('b')], { supersedes }));
    assert.deepEqual(calls, ['event v1', 'alert a', 'event v2', 'withdrawn a', 'alert b']);
  });

  it('repeats only the handler that failed', async () => {
    const calls: string[] = [];
    let failures = 2;
    const driver = new NeurosTestDriver({
      onEvent: () => void calls.push('event'),
      onAlert: (_, { attempt, mayBeRepeat }) => {
        calls.push(`alert ${attempt} ${mayBeRepeat}`);
        if (failures-- > 0) throw new Error('not yet');
      },
    });
    await driver.pipe(version(1, [trigger('a')]));
    assert.deepEqual(calls, ['event', 'alert 1 false', 'alert 2 true', 'alert 3 true']);
    assert.deepEqual(driver.deadLetters, []);
  });

  it('sets aside what fails too often, and announces its repetition', async () => {
    const announced: string[] = [];
    let isBroken = true;
    const driver = new NeurosTestDriver({
      retries: { attempts: 2 },
      onAlert: ({ alert_id }, { event }) => {
        if (isBroken) throw new RangeError('broken');
        announced.push(`${alert_id} ${event.event_id}`);
      },
    });
    await assert.rejects(driver.pipe(version(1, [trigger('a')])), ({ message, cause }: Error) => {
      assert.equal(message, 'NeurosTestDriver: onAlert failed 2 times');
      return cause instanceof RangeError && cause.message === 'broken';
    });
    const { at = '', ...letter } = driver.deadLetters[0]!;
    assert.match(at, /test-driver\.test\.ts:\d+/);
    assert.deepEqual(letter, {
      ...{ reason: 'handler_failed', handler: 'onAlert', error: 'RangeError', attempts: 2 },
      ...{ priority: 'HIGH', offset: 0n },
    });
    isBroken = false;
    await driver.pipe(version(2, [trigger('a', false)]));
    assert.deepEqual(announced, ['a v2']);
  });

  it('announces the repetition of an alert whose event ended at onEvent, too', async () => {
    const announced: string[] = [];
    const driver = new NeurosTestDriver({
      retries: { attempts: 1 },
      onEvent: ({ event_id }) => {
        if (event_id === 'v1') throw new Error('broken');
      },
      onAlert: ({ alert_id }) => void announced.push(alert_id),
    });
    await assert.rejects(driver.pipe(version(1, [trigger('a')])), /onEvent failed 1 time$/);
    assert.equal(driver.deadLetters[0]?.handler, 'onEvent');
    await driver.pipe(version(2, [trigger('a', false)]));
    assert.deepEqual(announced, ['a']);
  });

  it('announces stale alerts only when asked to', async () => {
    for (const [announceStale, expected] of [
      [false, 0],
      [true, 1],
    ] as const) {
      let calls = 0;
      const driver = new NeurosTestDriver({ announceStale, onAlert: () => void (calls += 1) });
      await driver.pipe(version(1, [trigger('a')], { flags: ['stale'] }));
      assert.equal(calls, expected);
    }
  });

  it('forgets a user who is erased', async () => {
    const calls: string[] = [];
    const driver = new NeurosTestDriver({
      onErased: ({ user_id }) => void calls.push(`erased ${user_id}`),
      onAlert: ({ alert_id }) => void calls.push(`alert ${alert_id}`),
    });
    await driver.pipe(version(1, [trigger('a')]));
    await driver.erase('test_user');
    await driver.pipe(version(2, [trigger('a')]));
    assert.deepEqual(calls, ['alert a', 'erased test_user', 'alert a']);
  });

  it('refuses an event that the contract does not allow', async () => {
    const driver = new NeurosTestDriver({ onEvent: () => undefined });
    await assert.rejects(driver.pipe(anEvent({ hrv: NaN })), EncodeError);
  });

  it('takes the samples of every vendor', async () => {
    const seen: BiometricEvent[] = [];
    const driver = new NeurosTestDriver({ onEvent: (event) => void seen.push(event) });
    await driver.pipe(...samples.map(({ event }) => event));
    assert.deepEqual(
      seen,
      samples.map(({ event }) => event),
    );
  });
});
