import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { assertFree, fixedPorts, freePorts } from '../../local/ports.ts';

test('the defaults leave room for three brokers and their controllers', () => {
  assert.deepEqual(fixedPorts({}, 3), {
    kafka: [19092, 19094, 19096],
    registry: 18081,
    postgres: 15432,
    redis: 16379,
  });
});

test('the environment chooses the ports', () => {
  const env = {
    LOCAL_KAFKA_PORT: '1000',
    LOCAL_REGISTRY_PORT: '2000',
    LOCAL_POSTGRES_PORT: '3000',
    LOCAL_REDIS_PORT: '4000',
  };
  assert.deepEqual(fixedPorts(env, 1), { kafka: [1000], registry: 2000, postgres: 3000, redis: 4000 });
});

test('two parts on one port are refused before anything starts', () => {
  assert.throws(() => fixedPorts({ LOCAL_KAFKA_PORT: '18080' }, 1), {
    code: 'PORT_TAKEN',
    message: /18081.*twice/,
  });
});

test('an invalid port is refused by the name of its variable', () => {
  for (const text of ['0', '70000', 'abc', '1e3', '-1']) {
    assert.throws(() => fixedPorts({ LOCAL_POSTGRES_PORT: text }, 1), { message: /LOCAL_POSTGRES_PORT/ });
  }
});

test('a taken port is named with the variable that changes it', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await assert.rejects(assertFree([port], 'the schema registry', 'LOCAL_REGISTRY_PORT'), {
    code: 'PORT_TAKEN',
    message: new RegExp(`port ${port} .*schema registry.*LOCAL_REGISTRY_PORT`),
  });
});

test('free ports are distinct, and outside the range for outgoing connections', async () => {
  const { kafka, registry, postgres, redis } = await freePorts(3);
  const all = [...kafka.flatMap((port) => [port, port + 1]), registry, postgres, redis];
  assert.equal(new Set(all).size, 9);
  assert.ok(all.every((port) => port >= 20_000 && port < 32_768));
});
