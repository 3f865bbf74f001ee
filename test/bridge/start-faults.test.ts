import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { incompatibleContract } from '../schemas/events.ts';
import { bridge, freePort, type Bridge } from './harness.ts';

let deployment: Bridge;

before(async () => {
  deployment = await bridge();
});

after(() => deployment.close());

for (const command of ['topology', 'sink']) {
  test(`bridge ${command} says so and exits non-zero when the registry is down`, async () => {
    const url = `http://127.0.0.1:${await freePort()}/apis/ccompat/v7`;
    const { ended, output } = deployment.start(command, { SCHEMA_REGISTRY_URL: url });
    assert.equal(await ended, 1);
    assert.match(output(), /schema registry at http:\/\/127\.0\.0\.1:\d+/);
  });

  test(`bridge ${command} says so and exits non-zero when the registry lacks the schema`, async () => {
    const { ended, output } = deployment.start(command, { TOPIC_PREFIX: 'nobody-registered-this.' });
    assert.equal(await ended, 1);
    assert.match(output(), /bridge schemas register/);
  });

  test(`bridge ${command} says so and exits non-zero when the registry would refuse its schema`, async () => {
    const prefix = `incompatible-${randomUUID().slice(0, 8)}.`;
    const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: process.env['SCHEMA_REGISTRY_URL'] ?? '' });
    await registerSchemas(registry, prefix, incompatibleContract());
    const { ended, output } = deployment.start(command, { TOPIC_PREFIX: prefix });
    assert.equal(await ended, 1);
    assert.match(output(), /would refuse the schema of this version under \S+-value/);
  });

  test(`bridge ${command} says so and exits non-zero when Kafka is down`, async () => {
    const brokers = `127.0.0.1:${await freePort()}`;
    const { ended, output } = deployment.start(command, { KAFKA_BOOTSTRAP_SERVERS: brokers });
    assert.equal(await ended, 1);
    assert.ok(output().includes(brokers), output());
  });
}

test('bridge topology refuses topics with a different number of partitions', async () => {
  const { ended, output } = deployment.start('topology', { TOPIC_PARTITIONS: '5' });
  assert.equal(await ended, 1);
  assert.match(output(), /TOPIC_PARTITIONS=5/);
});

test('every fault of the environment is reported at once, with exit code 2 and no value', async () => {
  const { ended, output } = deployment.start('topology', { LOG_LEVEL: 'loud', COMMIT_INTERVAL_MS: 'soon' });
  assert.equal(await ended, 2);
  assert.match(output(), /LOG_LEVEL: must be one of/);
  assert.match(output(), /COMMIT_INTERVAL_MS: must be a whole number/);
  assert.ok(!output().includes('loud'));
});
