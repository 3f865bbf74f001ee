import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import {
  memory,
  NeurosClient,
  NeurosOptionsError,
  NeurosTestDriver,
  type NeurosOptions,
} from '../../../consumers/neuros/index.ts';
import { capturedNeurosLog } from './harness.ts';

const options: NeurosOptions = {
  brokers: ['127.0.0.1:1'],
  registry: 'http://127.0.0.1:1',
  groupId: 'neuros',
  onEvent: () => undefined,
};

/** Options as JavaScript can give them, which checks no types. */
function untyped(changes: Record<string, unknown>): NeurosOptions {
  return { ...options, ...changes };
}

function faultsOf(create: () => unknown): readonly string[] {
  try {
    create();
  } catch (error) {
    assert.ok(error instanceof NeurosOptionsError, String(error));
    return error.faults;
  }
  return [];
}

describe('a misuse', () => {
  it('of the options is named, a misspelt name inside of them too', () => {
    const misuses: readonly [Record<string, unknown>, RegExp][] = [
      [{ onAlerts: () => undefined }, /unknown option onAlerts/],
      [{ retries: { maxAttempts: 2 } }, /unknown option retries\.maxAttempts/],
      [{ reserved: { high: 2 } }, /unknown option reserved\.high/],
      [{ registry: { url: 'http://localhost', user: 'me' } }, /unknown option registry\.user/],
      [{ registry: null }, /registry must be/],
      [{ sasl: null }, /sasl must be/],
      [{ announceStale: 'no' }, /announceStale/],
      [{ log: console.log }, /log must have/],
      [{ metrics: {} }, /metrics must be/],
      [{ groupId: 'biometric-events' }, /groupId must not be/],
      [{ alerts: () => undefined }, /alerts must be/],
    ];
    for (const [changes, message] of misuses) {
      const [fault = '', ...others] = faultsOf(() => new NeurosClient(untyped(changes)));
      assert.match(fault, message);
      assert.deepEqual(others, []);
    }
    const faults = faultsOf(() => new NeurosTestDriver(untyped({ onAlerts: () => undefined })));
    assert.equal(faults.length, 1);
  });

  it('of pause(), resume() or close() is an error', async () => {
    const client = new NeurosClient(options);
    for (const priority of ['high', 'ALL']) {
      assert.throws(() => client.pause(priority as 'HIGH'), /HIGH, MEDIUM, NORMAL/);
      assert.throws(() => client.resume(priority as 'HIGH'), /HIGH, MEDIUM, NORMAL/);
    }
    for (const timeoutMs of [-1, NaN]) await assert.rejects(client.close({ timeoutMs }), /timeoutMs/);
    await client.close();
    await assert.rejects(client.start(), /create another one/);
  });

  it('of alerts, which are those of another reader, is an error', async () => {
    const alerts = memory();
    await alerts.start('neuros');
    await alerts.start('neuros');
    await assert.rejects(alerts.start('coach'), /reader neuros/);
  });
});

describe('close()', () => {
  it('ends a start that waits for a broker', async () => {
    const sockets = new Set<Socket>();
    // Takes connections and never answers.
    const broker = createServer((socket) => void sockets.add(socket));
    await new Promise<void>((resolve) => broker.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = broker.address() as AddressInfo;
      const connected = new Promise((resolve) => broker.once('connection', resolve));
      const client = new NeurosClient({
        ...options,
        brokers: [`127.0.0.1:${port}`],
        log: capturedNeurosLog().log,
      });
      const running = client.run();
      await connected;
      await client.close();
      await running;
      assert.equal(client.health().status, 'closed');
    } finally {
      for (const socket of sockets) socket.destroy();
      broker.close();
    }
  });
});
