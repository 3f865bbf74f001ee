/** Issue 15, case 12: a foreign broker that forgets offsets before the topics forget their records. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Admin } from '../../kafka/client.ts';
import { warnOfShortOffsetRetention } from '../../kafka/offset-retention.ts';
import { Cluster } from '../streams/broker/cluster.ts';
import { recordingLog } from '../streams/log.ts';

const dayMs = 86_400_000;

test('case 12: brokers that forget offsets before records are warned about, with what to set', async (t) => {
  const { admin } = await Cluster.open(t);
  const log = recordingLog();
  // The stack's brokers keep offsets for 60 days.
  await warnOfShortOffsetRetention(admin, 60 * dayMs, log);
  assert.deepEqual(log.entries, []);
  await warnOfShortOffsetRetention(admin, 61 * dayMs, log);
  const [{ level, fields, message } = assert.fail('no warning')] = log.entries;
  assert.deepEqual([level, fields, log.entries.length], ['warn', { 'offsets.retention.minutes': 86_400 }, 1]);
  assert.match(message, /stopped for 60 days, while topics keep records for 61.*minutes to 87840 or more/);
});

test('case 12: brokers that do not tell how long they keep offsets are no fault', async () => {
  const refusing = {
    describeCluster: () => Promise.resolve({ brokers: [{ nodeId: 1 }] }),
    describeConfigs: () =>
      Promise.reject(Object.assign(new Error('refused'), { type: 'CLUSTER_AUTHORIZATION_FAILED' })),
  } as unknown as Admin;
  const log = recordingLog();
  await warnOfShortOffsetRetention(refusing, 28 * dayMs, log);
  assert.deepEqual(
    log.entries.map(({ level, fields }) => [level, fields]),
    [['debug', { reason: 'CLUSTER_AUTHORIZATION_FAILED' }]],
  );
});
