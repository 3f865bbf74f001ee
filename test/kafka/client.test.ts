import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stackFrames } from '../../streams/errors.ts';
import { compressionOf, CompressionTypes, kafkaClient } from '../../kafka/client.ts';
import { recordingLog } from '../streams/log.ts';

test('a client that finds no broker logs it once, not at every attempt', async () => {
  const log = recordingLog();
  const retry = { initialRetryTime: 1, retries: 10 };
  const admin = kafkaClient({ brokers: ['127.0.0.1:1'] }, { clientId: 'test', log, retry }).admin();
  await assert.rejects(admin.connect());
  const errors = log.entries.filter(({ level }) => level === 'error').map(({ message }) => message);
  assert.equal(new Set(errors).size, errors.length);
  assert.ok(errors.length > 0);
  assert.ok(log.entries.filter(({ level }) => level === 'debug').length >= 10);
});

test('the frames of an error omit its message, even when the message looks like frames', () => {
  const error = new TypeError('bad value:\n    at planted (planted.ts:1:1)\n    at planted');
  assert.ok(error.stack?.includes('planted.ts'));
  const frames = stackFrames(error);
  assert.match(frames, /^ {4}at .*client\.test\.ts/);
  assert.ok(!frames.includes('planted'));
  error.message = 'changed';
  assert.equal(stackFrames(error), '');
  assert.equal(stackFrames('no error'), '');
});

test('a producer compresses as configured, and not at all by default', () => {
  const brokers = ['127.0.0.1:1'];
  assert.equal(compressionOf({ brokers, compression: 'snappy' }), CompressionTypes.Snappy);
  assert.equal(compressionOf({ brokers, compression: 'none' }), CompressionTypes.None);
  assert.equal(compressionOf({ brokers }), CompressionTypes.None);
});
