import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { AlertStoreUnavailable } from '../../../consumers/neuros/alerts/alerts.ts';
import { NeurosTestDriver } from '../../../consumers/neuros/index.ts';
import { RegistryError } from '../../../schemas/registry.ts';
import { anEvent } from '../../schemas/events.ts';

class NameThrows extends Error {
  override get name(): string {
    throw new Error('not a name');
  }
}

describe('a handler that throws', () => {
  it('has failed, whatever it throws and however', async () => {
    const thrown: readonly [unknown, string][] = [
      [new TypeError('hrv 20'), 'TypeError'],
      ['a string', 'string'],
      [undefined, 'undefined'],
      [null, 'object'],
      [Symbol('hrv'), 'symbol'],
      [Object.create(null), 'object'],
      [Object.assign(new Error('hrv 20'), { name: 42 }), '42'],
      [new NameThrows(), 'object'],
    ];
    const ways: readonly ((value: unknown) => unknown)[] = [
      (value) => {
        throw value;
      },
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- handlers may
      (value) => Promise.reject(value),
      (value) => ({ then: (_: unknown, reject: (reason: unknown) => void) => reject(value) }),
    ];
    for (const [value, error] of thrown) {
      for (const way of ways) {
        const driver = new NeurosTestDriver({ retries: { attempts: 2 }, onEvent: () => way(value) });
        await assert.rejects(driver.pipe(anEvent()), /onEvent failed 2 times/);
        const expected = { reason: 'handler_failed', handler: 'onEvent', error, attempts: 2 };
        assert.deepEqual(
          driver.deadLetters.map(({ reason, handler, error: its, attempts }) => ({
            ...{ reason, handler, error: its, attempts },
          })),
          [expected],
        );
      }
    }
  });

  it('has failed also if it throws what stands for a server of the client that is away', async () => {
    for (const error of [new RegistryError('unreachable', 'theirs'), new AlertStoreUnavailable('08006')]) {
      const handler = (): never => {
        throw error;
      };
      for (const handlers of [{ onEvent: handler }, { onAlert: handler }]) {
        const driver = new NeurosTestDriver({ ...handlers, retries: { attempts: 3 } });
        await assert.rejects(driver.pipe(anEvent()), /failed 3 times/);
        assert.deepEqual(
          driver.deadLetters.map(({ attempts, error: its }) => [attempts, its]),
          [[3, error.name]],
        );
      }
    }
  });
});
