import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { brokerClient, newName, newTopic, transactionalProducer } from './broker.ts';

test('concurrent fetches share one connection, and disconnect() closes all connections', async () => {
  const sockets: Socket[] = [];
  const kafka = brokerClient(undefined, ({ host, port, onConnect }) => {
    const socket = connect(port, host, onConnect);
    sockets.push(socket);
    return socket;
  });
  const topic = await newTopic(kafka, 1);
  const fetcher = kafka.fetcher();
  await fetcher.connect();
  const [ofTopic] = await fetcher.metadata([topic]);
  const before = sockets.length;
  const fetch = {
    nodeId: String(ofTopic?.partitions[0]?.leader),
    isolationLevel: 1 as const,
    maxWaitTime: 1,
    minBytes: 1,
    maxBytes: 1_000,
    topics: [{ topic, partitions: [{ partition: 0, fetchOffset: '0', maxBytes: 1_000 }] }],
  };
  await Promise.all(Array.from({ length: 8 }, () => fetcher.fetch(fetch)));
  assert.ok(sockets.length - before <= 2, `${sockets.length - before} new connections`);
  await fetcher.disconnect();
  assert.ok(sockets.every(({ writableEnded }) => writableEnded));
});

test('the offsets of a transaction have a connection of their own, apart from the records', async (t) => {
  const apiKeys = new Map<Socket, Set<number>>();
  const kafka = brokerClient(undefined, ({ host, port, onConnect }) => {
    const socket = connect(port, host, onConnect);
    const seen = new Set<number>();
    apiKeys.set(socket, seen);
    const write = socket.write.bind(socket) as (...args: unknown[]) => boolean;
    socket.write = (...args: unknown[]) => {
      // The client writes each request at once: its size, then the key of its kind.
      seen.add((args[0] as Buffer).readInt16BE(4));
      return write(...args);
    };
    return socket;
  });
  const topic = await newTopic(kafka, 1);
  const consumerGroupId = newName('group');
  const producer = await transactionalProducer(t, kafka);
  const transaction = await producer.transaction({ consumerGroupId });
  await Promise.all([
    transaction.send({ topic, messages: [{ value: 'A' }] }),
    transaction.sendOffsets({ consumerGroupId, topics: [{ topic, partitions: [{ partition: 0, offset: '1' }] }] }),
  ]);
  await transaction.commit();
  const [produce, txnOffsetCommit] = [0, 28];
  const socketOf = (apiKey: number) => [...apiKeys].find(([, seen]) => seen.has(apiKey))?.[0];
  assert.ok(socketOf(produce) !== undefined && socketOf(txnOffsetCommit) !== undefined);
  assert.notEqual(socketOf(produce), socketOf(txnOffsetCommit));
});
