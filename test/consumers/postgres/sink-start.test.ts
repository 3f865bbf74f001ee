import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { DatabaseError } from '../../../postgres/migrate.ts';
import { RegistryError } from '../../../schemas/registry.ts';
import { TopicError } from '../../../kafka/topics.ts';
import { closedPort, sinkStack, type SinkStack } from './harness.ts';

describe('a sink that cannot work', { timeout: 60_000 }, () => {
  let stack: SinkStack;
  before(async () => {
    stack = await sinkStack();
  });
  after(() => stack.close());

  test('says how to register when the registry lacks the schema', async () => {
    await assert.rejects(
      stack.sink({ TOPIC_PREFIX: `nobody-${randomUUID().slice(0, 8)}.` }),
      (error) => error instanceof RegistryError && error.message.includes('bridge schemas register'),
    );
  });

  test('says where the registry should be when it is down', async () => {
    const port = await closedPort();
    await assert.rejects(
      stack.sink({ SCHEMA_REGISTRY_URL: `http://someone:canary@127.0.0.1:${port}/apis/ccompat/v7` }),
      (error) =>
        error instanceof RegistryError &&
        error.message.includes(`http://127.0.0.1:${port}/apis/ccompat/v7`) &&
        error.message.includes('ECONNREFUSED') &&
        !error.message.includes('canary'),
    );
  });

  test('names the topics that have a different number of partitions', async () => {
    await assert.rejects(
      stack.sink({ TOPIC_PARTITIONS: '12' }),
      (error) => error instanceof TopicError && error.message.includes(stack.names.priority.HIGH),
    );
  });

  test('says where the database should be when it is down, without its password', async () => {
    await assert.rejects(
      stack.sink({ POSTGRES_URL: 'postgresql://someone:canary@127.0.0.1:1/events' }),
      (error) =>
        error instanceof DatabaseError &&
        error.message.includes('events at 127.0.0.1:1') &&
        error.message.includes('ECONNREFUSED') &&
        !error.message.includes('canary'),
    );
  });

  test('names the probe port when it is taken, and leaves its group', async () => {
    const first = await stack.sink();
    await assert.rejects(stack.sink({ ADMIN_PORT: String(first.adminPort) }), /it is taken.*set ADMIN_PORT/);
    await first.stop();
    const { groups } = await stack.admin.describeGroups([`${stack.prefix}postgres-sink`]);
    assert.deepEqual(groups[0]?.members, []);
  });
});
