import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeCluster } from './fake-cluster.ts';
import { BrokerPool, collectingLogger, createEosManager, KafkaJSConnectionClosedError } from './kafkajs-internals.ts';

interface PooledBroker {
  isConnected(): boolean;
  connect(): Promise<void>;
  disconnect(): Promise<void>;
}

function pool(brokers: Readonly<Record<string, 'connected' | 'dead'>>) {
  const attempts: string[] = [];
  const made = new BrokerPool({ logger: collectingLogger(), connectionPoolBuilder: {}, retry: { retries: 0 } });
  made.brokers = Object.fromEntries(
    Object.entries(brokers).map(([nodeId, state]): [string, PooledBroker] => [
      nodeId,
      {
        isConnected: () => state === 'connected',
        connect: () => {
          attempts.push(nodeId);
          return Promise.reject(
            new KafkaJSConnectionClosedError('refused', { host: 'localhost', port: Number(nodeId) }),
          );
        },
        disconnect: () => Promise.resolve(),
      },
    ]),
  );
  return { made, attempts };
}

test('a question that any broker can answer goes to a connected one, without trying those that are dead', async () => {
  for (let round = 0; round < 20; round += 1) {
    const { made, attempts } = pool({ 1: 'dead', 2: 'connected', 3: 'dead' });
    assert.equal(await made.withBroker(({ nodeId }) => Promise.resolve(nodeId)), '2');
    assert.deepEqual(attempts, []);
  }
});

test('when no broker can be reached, the question fails with the error of the connection', async () => {
  const { made, attempts } = pool({ 1: 'dead', 2: 'dead' });
  await assert.rejects(
    made.withBroker(() => Promise.resolve('answered')),
    /refused/,
  );
  assert.deepEqual(attempts.sort(), ['1', '2']);
});

test('an idempotent producer takes its id from a connected broker, although the named controller is dead', async () => {
  const cluster = Object.assign(new FakeCluster({ 0: 1 }), {
    findControllerBroker: () => Promise.reject(new Error('the controller is dead')),
  });
  const eosManager = createEosManager({ logger: collectingLogger(), cluster, transactional: false });
  await eosManager.initProducerId();
  assert.ok(eosManager.getProducerId() >= 1000);
});
