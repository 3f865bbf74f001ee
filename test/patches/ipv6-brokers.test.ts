import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';

test('a broker of the list can be an IPv6 address in brackets, as can a name or an IPv4 address', async () => {
  for (const [broker, host] of [
    ['[::1]:9092', '::1'],
    ['127.0.0.1:9092', '127.0.0.1'],
    ['kafka.example.com:9092', 'kafka.example.com'],
  ] as const) {
    const asked: unknown[] = [];
    const kafka = new Kafka({
      brokers: [broker],
      logLevel: logLevel.NOTHING,
      retry: { retries: 0 },
      socketFactory({ host, port }) {
        asked.push([host, port]);
        throw new Error('no connection in this test');
      },
    });
    await assert.rejects(kafka.admin().connect());
    assert.deepEqual(asked, [[host, 9092]]);
  }
});
