import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerClient, newTopic, readAll, transactionalProducer } from './broker.ts';
import { FetchedBatch, type FetchedMessage } from './kafkajs-internals.ts';

const ABORT_MARKER = Buffer.from([0, 0, 0, 0]);

function record(offset: number, producerId: number, value: string): FetchedMessage {
  return {
    offset: String(offset),
    key: null,
    value: Buffer.from(value),
    isControlRecord: false,
    batchContext: { producerId: String(producerId), inTransaction: true },
  };
}

function abortMarker(offset: number, producerId: number): FetchedMessage {
  return { ...record(offset, producerId, ''), key: ABORT_MARKER, isControlRecord: true };
}

test('no record of several aborted transactions that began before the fetched offset is delivered', () => {
  const batch = new FetchedBatch('topic', '10', {
    partition: 0,
    highWatermark: '16',
    messages: [
      record(10, 2, 'aborted'),
      record(11, 1, 'aborted'),
      record(12, 3, 'committed'),
      abortMarker(13, 1),
      abortMarker(14, 2),
      record(15, 2, 'committed'),
    ],
    abortedTransactions: [
      { producerId: '1', firstOffset: '3' },
      { producerId: '2', firstOffset: '5' },
    ],
  });
  assert.deepEqual(
    batch.messages.map(({ value }) => String(value)),
    ['committed', 'committed'],
  );
});

test('an aborted record whose key looks like an abort marker ends nothing', () => {
  const batch = new FetchedBatch('topic', '10', {
    partition: 0,
    highWatermark: '13',
    messages: [
      { ...record(10, 1, 'aborted'), key: ABORT_MARKER },
      record(11, 1, 'aborted'),
      abortMarker(12, 1),
    ],
    abortedTransactions: [{ producerId: '1', firstOffset: '10' }],
  });
  assert.deepEqual(batch.messages, []);
});

test('a reader of a real broker who begins within two aborted transactions gets no record of either', { timeout: 60_000 }, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const begin = async () => {
    const producer = await transactionalProducer(t, brokerClient());
    return producer.transaction();
  };
  const [first, second, third] = [await begin(), await begin(), await begin()];
  const send = async (transaction: typeof first, value: string): Promise<void> => {
    await transaction.send({ topic, messages: [{ value }] });
  };
  await send(first, 'aborted');
  await send(second, 'aborted');
  await send(second, 'aborted');
  await send(first, 'aborted');
  await send(third, 'committed');
  await first.abort();
  await second.abort();
  await third.commit();
  assert.deepEqual(await readAll(kafka, topic, 2), { 0: ['committed'] });
});
