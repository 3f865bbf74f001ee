import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Registry } from 'prom-client';
import {
  NeurosClient,
  NeurosOptionsError,
  NeurosTestDriver,
  type NeurosOptions,
} from '../../../consumers/neuros/index.ts';

const usable: NeurosOptions = {
  brokers: ['localhost:9092', '[::1]:9093'],
  registry: 'http://localhost:8081',
  groupId: 'neuros',
  onEvent: () => undefined,
};

/** What JavaScript may pass, and what the fault must name. */
const misuses: readonly [options: unknown, fault: RegExp][] = [
  [undefined, /the options must be an object/],
  [null, /the options must be an object/],
  ['localhost:9092', /the options must be an object/],
  [{ ...usable, brokers: 'localhost:9092' }, /^brokers/],
  [{ ...usable, brokers: [] }, /^brokers/],
  [{ ...usable, brokers: ['localhost'] }, /^brokers/],
  [{ ...usable, brokers: ['localhost:99999'] }, /^brokers/],
  [{ ...usable, brokers: ['localhost:0'] }, /^brokers/],
  [{ ...usable, registry: 'localhost:8081' }, /^registry/],
  [{ ...usable, registry: null }, /^registry/],
  [{ ...usable, registry: { url: 'http://localhost', username: 5 } }, /^registry/],
  [{ ...usable, registry: { url: 'http://localhost', user: 'x' } }, /unknown option registry\.user:/],
  [{ ...usable, groupId: '' }, /^groupId/],
  [{ ...usable, groupId: 'a b' }, /^groupId/],
  [{ ...usable, groupId: 'a'.repeat(250) }, /^groupId must be shorter/],
  [{ ...usable, topicPrefix: 'a/b' }, /^topicPrefix/],
  [{ ...usable, topicPrefix: null }, /^topicPrefix/],
  [{ ...usable, ssl: 'yes' }, /^ssl/],
  [{ ...usable, sasl: null }, /^sasl/],
  [{ ...usable, sasl: { mechanism: 'gssapi', username: 'a', password: 'b' } }, /^sasl/],
  [{ ...usable, concurrency: 2 }, /^concurrency/],
  [{ ...usable, concurrency: '8' }, /^concurrency/],
  [{ ...usable, reserved: null }, /^reserved/],
  [{ ...usable, reserved: { LOW: 1 } }, /unknown option reserved\.LOW:/],
  [{ ...usable, reserved: { NORMAL: 0 } }, /^reserved\.NORMAL/],
  [{ ...usable, reserved: { HIGH: 9 } }, /^reserved adds up to 11/],
  [{ ...usable, maxAhead: 0 }, /^maxAhead/],
  [{ ...usable, retries: null }, /^retries/],
  [{ ...usable, retries: 3 }, /^retries/],
  [{ ...usable, retries: { attemps: 3 } }, /unknown option retries\.attemps:/],
  [{ ...usable, retries: { attempts: 0 } }, /^retries\.attempts/],
  [{ ...usable, handlerTimeoutMs: Infinity }, /^handlerTimeoutMs/],
  [{ ...usable, alerts: null }, /^alerts/],
  [{ ...usable, alerts: {} }, /^alerts/],
  [{ ...usable, announceStale: 'no' }, /^announceStale/],
  [{ ...usable, metrics: {} }, /^metrics/],
  [{ ...usable, log: {} }, /^log/],
  [{ ...usable, log: null }, /^log/],
  [{ ...usable, onAlert: 'x' }, /^onAlert/],
  [{ ...usable, onEvent: undefined }, /^give at least one handler/],
  [{ ...usable, onEvents: () => undefined }, /^unknown option onEvents:/],
];

describe('the options of a client', () => {
  it('name each fault, also those that only JavaScript can have', () => {
    for (const [options, fault] of misuses) {
      assert.throws(
        () => new NeurosClient(options as NeurosOptions),
        (error: unknown) => {
          assert.ok(error instanceof NeurosOptionsError, String(error));
          assert.ok(
            error.faults.some((one) => fault.test(one)),
            `${String(fault)} in ${error.message}`,
          );
          return true;
        },
      );
    }
    assert.throws(() => new NeurosTestDriver(null as never), NeurosOptionsError);
  });

  it('name all faults at once', () => {
    const options = { ...usable, groupId: '', maxAhead: 0, retries: { maxMs: -1 } };
    assert.throws(
      () => new NeurosClient(options),
      (error: unknown) => error instanceof NeurosOptionsError && error.faults.length === 3,
    );
  });

  it('let a client have the metrics registry of one that is closed, but not of one that is not', async () => {
    const metrics = new Registry();
    const first = new NeurosClient({ ...usable, metrics });
    assert.throws(
      () => new NeurosClient({ ...usable, metrics }),
      (error: unknown) => error instanceof NeurosOptionsError && /^metrics/.test(error.faults[0] ?? ''),
    );
    await first.close();
    const next = new NeurosClient({ ...usable, metrics });
    assert.match(await metrics.metrics(), /neuros_lag_records\{priority="HIGH"\} 0/);
    await next.close();
  });

  it('of close() are checked, too', async () => {
    const client = new NeurosClient(usable);
    for (const timeoutMs of [-1, Number.NaN, '5'])
      await assert.rejects(client.close({ timeoutMs: timeoutMs as number }), NeurosOptionsError);
    await client.close({ timeoutMs: Infinity });
    assert.equal(client.health().status, 'closed');
    await assert.rejects(client.run(), /it was closed/);
  });
});
