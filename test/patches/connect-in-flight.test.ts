import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { Kafka, logLevel } from 'kafkajs';

test('a connect that is under way ends with disconnect, instead of trying on', { timeout: 60_000 }, async () => {
  const sockets: Socket[] = [];
  // It takes connections, and never answers.
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const admin = new Kafka({
    brokers: [`127.0.0.1:${port}`],
    requestTimeout: 300,
    retry: { initialRetryTime: 10, retries: 1_000 },
    logLevel: logLevel.NOTHING,
  }).admin();
  const connecting = admin.connect();
  await once(silent, 'connection');
  await admin.disconnect();
  await assert.rejects(connecting);
  const tried = sockets.length;
  assert.ok(tried <= 2, `${tried} connections`);
  for (const socket of sockets) socket.destroy();
  silent.close();
});
