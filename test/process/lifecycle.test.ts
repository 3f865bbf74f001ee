import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startService, type Service } from '../../process/lifecycle.ts';

function never(): Promise<void> {
  return new Promise(() => undefined);
}

test('steps of a stop run one after the other, the last registered first, after stopping is aborted', async () => {
  const done: string[] = [];
  const part = await startService((service) => {
    service.onStop(() => done.push('first'));
    service.onStop(async () => {
      await Promise.resolve();
      done.push(`second, stopping ${service.stopping.aborted}`);
    });
    return { port: 1 };
  });
  assert.equal(part.port, 1);
  await part.stop();
  assert.deepEqual(done, ['second, stopping true', 'first']);
});

test('a second stop does nothing again', async () => {
  let stops = 0;
  const part = await startService((service) => {
    service.onStop(() => (stops += 1));
    return {};
  });
  assert.equal(part.stop(), part.stop());
  await part.stop();
  assert.equal(stops, 1);
});

test('a start that fails runs the steps registered so far, and rejects with its own reason', async () => {
  const done: string[] = [];
  const start = startService((service) => {
    service.onStop(() => done.push('closed'));
    service.onStop(() => Promise.reject(new Error('the pool does not close')));
    return Promise.reject(new Error('the port is taken'));
  });
  await assert.rejects(start, /the port is taken/);
  assert.deepEqual(done, ['closed']);
});

test('a step that fails keeps no other from running, and the stop rejects with it', async () => {
  const done: string[] = [];
  const part = await startService((service) => {
    service.onStop(() => done.push('last'));
    service.onStop(() => {
      throw new Error('the consumer does not leave');
    });
    return {};
  });
  await assert.rejects(part.stop(), /the consumer does not leave/);
  assert.deepEqual(done, ['last']);
});

test('a step that hangs is abandoned after its deadline, and the stop rejects', async () => {
  const done: string[] = [];
  const part = await startService((service) => {
    service.onStop(() => done.push('last'));
    service.onStop(never, 10);
    return {};
  });
  await assert.rejects(part.stop(), /took longer than 10 ms/);
  assert.deepEqual(done, ['last']);
});

test('of several steps that fail the stop names each', async () => {
  const part = await startService((service) => {
    service.onStop(() => Promise.reject(new Error('one')));
    service.onStop(() => Promise.reject(new Error('two')));
    return {};
  });
  await assert.rejects(part.stop(), /two.*one/s);
});

test('a failure is seen by an owner who begins to watch later, also one during the start', async () => {
  let service: Service | undefined;
  const part = await startService((given) => {
    service = given;
    given.fail(new Error('the broker is gone'));
    return {};
  });
  await assert.rejects(part.failed, /the broker is gone/);
  service?.fail(new Error('again'));
  await assert.rejects(part.failed, /the broker is gone/);
  await part.stop();
});
