import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import type { ISocketFactory } from 'kafkajs';
import { stableOffsets } from '../kafka/stable-offsets.ts';
import { brokerClient, newName, newTopic, readAll, transactionalProducer } from './broker.ts';

/** The numbers of the requests in Kafka's protocol. */
const REQUESTS = {
  Produce: 0,
  AddPartitionsToTxn: 24,
  AddOffsetsToTxn: 25,
  EndTxn: 26,
  TxnOffsetCommit: 28,
} as const;
/** Every request begins with its length (4 bytes), then its number. */
const REQUEST_NUMBER_OFFSET = 4;

/** Breaks the connection when the broker has answered the first request of that number, and keeps the answer back. */
function losesAnswerTo(request: number, end: (socket: Socket) => void): { factory: ISocketFactory; lost: () => number } {
  let lost = 0;
  const factory: ISocketFactory = ({ host, port, onConnect }) => {
    const socket = connect({ host, port }, onConnect);
    const write = socket.write.bind(socket);
    socket.write = (data: unknown): boolean => {
      if (Buffer.isBuffer(data) && data.readInt16BE(REQUEST_NUMBER_OFFSET) === request && lost === 0) {
        lost++;
        socket.removeAllListeners('data');
        socket.once('data', () => end(socket));
      }
      return write(data as Buffer);
    };
    return socket;
  };
  return { factory, lost: () => lost };
}

const ENDS = {
  'a closed connection': (socket: Socket): void => void socket.end(),
  'a reset connection': (socket: Socket): void => void socket.destroy(new Error('reset')),
};

for (const [name, request] of Object.entries(REQUESTS)) {
  for (const [how, end] of Object.entries(ENDS)) {
    test(`a transaction whose answer to ${name} is lost with ${how} is committed once`, { timeout: 60_000 }, async (t) => {
      const kafka = brokerClient();
      const topic = await newTopic(kafka, 1);
      const groupId = newName('group');
      const { factory, lost } = losesAnswerTo(request, end);
      const producer = await transactionalProducer(t, brokerClient([], factory));
      for (const [offset, value] of ['A', 'B'].entries()) {
        const transaction = await producer.transaction();
        await transaction.send({ topic, messages: [{ value }] });
        await transaction.sendOffsets({
          consumerGroupId: groupId,
          topics: [{ topic, partitions: [{ partition: 0, offset: String(offset) }] }],
        });
        await transaction.commit();
      }
      assert.equal(lost(), 1);
      assert.deepEqual(await readAll(kafka, topic), { 0: ['A', 'B'] });
      assert.deepEqual(await stableOffsets(kafka, groupId, topic), ['1']);
    });
  }
}
