import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { memory, NeurosTestDriver, type NeurosHandlers } from '../../../consumers/neuros/index.ts';
import { Delivery } from '../../../consumers/neuros/delivery.ts';
import { handlingOf } from '../../../consumers/neuros/options.ts';
import { avroType } from '../../../schemas/avro.ts';
import { biometricEventAvsc } from '../../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../../schemas/codec.ts';
import { anEvent } from '../../schemas/events.ts';

describe('a delivery', () => {
  it('erases the alerts of a user even when onErased fails for good', async () => {
    const alerts = memory();
    const announced: string[] = [];
    const handlers: NeurosHandlers = { onAlert: ({ alert_id }) => void announced.push(alert_id) };
    const driver = new NeurosTestDriver({
      ...handlers,
      alerts,
      onErased: () => Promise.reject(new TypeError('not now')),
    });
    const event = anEvent();
    await driver.pipe(event, event);
    await assert.rejects(driver.erase(event.user_id), /onErased failed/);
    assert.deepEqual(
      driver.deadLetters.map(({ handler, error }) => [handler, error]),
      [['onErased', 'TypeError']],
    );
    const before = announced.length;
    await driver.pipe(event);
    assert.deepEqual([before, announced.length], [event.triggers.length, 2 * event.triggers.length]);
  });

  it('begins nothing new once close() waits no longer', async () => {
    const stop = new AbortController();
    const calls: string[] = [];
    const alerts = memory();
    await alerts.start('neuros');
    const handling = handlingOf({
      onEvent: () => {
        calls.push('onEvent');
        stop.abort();
      },
      onAlert: () => void calls.push('onAlert'),
    });
    const event = anEvent();
    const none = (): void => undefined;
    const delivery = new Delivery(
      {
        handling,
        alerts,
        decoder: createDecoder(() => Promise.resolve(avroType(biometricEventAvsc))),
        deadLetters: { append: () => Promise.reject(new Error('set aside')) },
        observer: {
          called: none,
          handedOver: none,
          alert: none,
          failed: none,
          setAside: none,
          outage: none,
        },
        stop: stop.signal,
      },
      {
        topic: 'biometric-events.high',
        partition: 0,
        offset: 0n,
        timestamp: 0,
        key: Buffer.from(event.user_id),
        value: createEncoder(1)(event),
        headers: {},
      },
      'HIGH',
    );
    assert.notEqual(await delivery.attempt(), undefined, 'it is not done with');
    assert.deepEqual(calls, ['onEvent']);
  });
});
