import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readConfig } from '../../process/config.ts';
import { streamsConfig } from '../../streams/config.ts';
import { topologyVariables } from '../../topology/config.ts';
import { silentLog } from '../ingress/harness.ts';

test('case 12: application and instance ids could make the transactional id of another instance', () => {
  for (const name of ['TOPIC_PREFIX', 'APPLICATION_ID', 'INSTANCE_ID']) {
    const env = {
      KAFKA_BOOTSTRAP_SERVERS: 'localhost:9092',
      SCHEMA_REGISTRY_URL: 'http://localhost',
      [name]: 'a:b',
    };
    assert.throws(() => readConfig(topologyVariables, env), new RegExp(`${name}: may hold letters, digits`));
  }
  const options = { connection: { brokers: [] }, applicationId: 'a', instanceId: 'b', log: silentLog };
  for (const name of ['applicationId', 'instanceId'])
    assert.throws(() => streamsConfig({ ...options, [name]: 'a:b' }), /may not hold a colon/);
});

test('a second stream thread is refused with what to do instead', () => {
  const env = {
    KAFKA_BOOTSTRAP_SERVERS: 'localhost:9092',
    SCHEMA_REGISTRY_URL: 'http://localhost',
    NUM_STREAM_THREADS: '4',
  };
  assert.throws(() => readConfig(topologyVariables, env), {
    faults: [
      'NUM_STREAM_THREADS: must be 1: a process has one stream thread; run more processes instead, each with its own INSTANCE_ID (stream threads; 1 is the only value)',
    ],
  });
});
