import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerClient, newTopic, readAll } from './broker.ts';
import { ERROR, FakeCluster, TOPIC } from './fake-cluster.ts';
import { fakeProducer } from './fake-producer.ts';
import { collectingLogger, createEosManager, KafkaJSConnectionClosedError } from './kafkajs-internals.ts';

const MAX_SEQUENCE = 2 ** 31 - 1;

function answerLost(): Error {
  return new KafkaJSConnectionClosedError('answer lost', { host: 'localhost', port: 1 });
}

test('a record after a send of which one partition was refused is written on a real broker', { timeout: 60_000 }, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 2);
  const producer = kafka.producer({ idempotent: true });
  t.after(() => producer.disconnect());
  await producer.connect();
  const tooLarge = Buffer.alloc(2 * 1024 * 1024);
  const failing = producer.send({
    topic,
    messages: [
      { partition: 0, value: 'A' },
      { partition: 1, value: tooLarge },
    ],
  });
  await assert.rejects(failing, { type: 'MESSAGE_TOO_LARGE' });
  await producer.send({ topic, messages: [{ partition: 0, value: 'B' }] });
  await producer.send({ topic, messages: [{ partition: 1, value: 'C' }] });
  assert.deepEqual(await readAll(kafka, topic), { 0: ['A', 'B'], 1: ['C'] });
});

test('only the sequences of a refused partition are reused', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 1 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(1).beforeAppend = (attempt) => (attempt === 1 ? { 1: ERROR.messageTooLarge } : {});
  await assert.rejects(producer.send({ 0: 'A', 1: 'too large' }), { type: 'MESSAGE_TOO_LARGE' });
  await producer.send({ 0: 'B', 1: 'C' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A', 'B'], ['C']]);
});

test('a retry repeats the sequence of a record whose answer was lost', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(1).beforeAnswer = (attempt) => {
    if (attempt === 1) throw answerLost();
  };
  // At the same time: the second must not take the sequence that the first has to repeat.
  await Promise.all([producer.send({ 0: 'A' }), producer.send({ 0: 'B' })]);
  assert.deepEqual(cluster.log(0), ['A', 'B']);
});

for (const isWritten of [true, false]) {
  const was = isWritten ? 'was' : 'was not';
  test(`a record after a send of unknown outcome that ${was} written is written`, async () => {
    const cluster = new FakeCluster({ 0: 1 });
    const producer = await fakeProducer(cluster, 'idempotent', { retries: 1 });
    const lose = (attempt: number): Record<number, number> => {
      if (attempt <= 2) throw answerLost();
      return {};
    };
    if (isWritten) cluster.broker(1).beforeAnswer = (attempt) => void lose(attempt);
    else cluster.broker(1).beforeAppend = lose;
    await assert.rejects(producer.send({ 0: 'A' }), /answer lost/);
    await producer.send({ 0: 'B' });
    assert.deepEqual(cluster.log(0), isWritten ? ['A', 'B'] : ['B']);
  });
}

test('a transactional producer never takes a new producer id by itself, and is refused rather than ignored', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const producer = await fakeProducer(cluster, 'transactional', { retries: 1 });
  const producerId = producer.eosManager.getProducerId();
  cluster.broker(1).beforeAppend = (attempt) => {
    if (attempt <= 2) throw answerLost();
    return {};
  };
  await assert.rejects(producer.send({ 0: 'A' }), /answer lost/);
  await assert.rejects(producer.send({ 0: 'B' }), { type: 'OUT_OF_ORDER_SEQUENCE_NUMBER' });
  assert.equal(producer.eosManager.getProducerId(), producerId);
});

test('sequences continue at zero after the greatest one, as the broker counts them', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = createEosManager({ logger: collectingLogger(), cluster, transactional: false });
  await eosManager.initProducerId();
  eosManager.updateSequence(TOPIC, 0, MAX_SEQUENCE);
  assert.equal(eosManager.getSequence(TOPIC, 0), MAX_SEQUENCE);
  eosManager.updateSequence(TOPIC, 0, 3);
  assert.equal(eosManager.getSequence(TOPIC, 0), 2);
  eosManager.updateSequence(TOPIC, 0, -3);
  assert.equal(eosManager.getSequence(TOPIC, 0), MAX_SEQUENCE);
});
