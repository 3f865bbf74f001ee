import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { brokerClient, newTopic } from './broker.ts';

test('fetches that come at the same time share one connection, and disconnect() closes all there are', async () => {
  const sockets: Socket[] = [];
  const kafka = brokerClient(undefined, ({ host, port, onConnect }) => {
    const socket = connect(port, host, onConnect);
    sockets.push(socket);
    return socket;
  });
  const topic = await newTopic(kafka, 1);
  const admin = kafka.admin();
  await admin.connect();
  const fetch = { topic, partition: 0, offset: '0', maxWaitTimeInMs: 1 };
  const before = sockets.length;
  await Promise.all(Array.from({ length: 8 }, () => admin.fetchRecords(fetch)));
  assert.ok(sockets.length - before <= 2, `${sockets.length - before} new connections`);
  await admin.disconnect();
  assert.ok(sockets.every(({ writableEnded }) => writableEnded));
});
