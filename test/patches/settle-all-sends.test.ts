import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises';
import { ERROR, FakeCluster } from './fake-cluster.ts';
import { fakeProducer } from './fake-producer.ts';

// Long enough for a client that does not wait for its other requests to begin the retry.
const RETRY_WOULD_HAVE_BEGUN_MS = 50;

test('a send that fails on one broker is not repeated on another that is still writing', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 2 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(2).beforeAppend = (attempt) => (attempt === 1 ? { 1: ERROR.notLeader } : {});
  cluster.broker(1).beforeAnswer = async () => {
    await delay(RETRY_WOULD_HAVE_BEGUN_MS);
  };
  await producer.send({ 0: 'A', 1: 'B' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A'], ['B']]);
  assert.deepEqual(cluster.broker(1).produced, ['0: A']);
});

test('a transaction over two leaders writes each record once although its coordinator takes one request at a time', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 2 });
  let inFlight = 0;
  cluster.onCoordinatorRequest = async (request) => {
    if (request !== 'addPartitions') return undefined;
    inFlight++;
    const isAlone = inFlight === 1;
    await nextTurn();
    inFlight--;
    return isAlone ? undefined : ERROR.concurrentTransactions;
  };
  for (const nodeId of [1, 2]) {
    cluster.broker(nodeId).beforeAnswer = async () => {
      await delay(RETRY_WOULD_HAVE_BEGUN_MS);
    };
  }
  const producer = await fakeProducer(cluster, 'transactional');
  await producer.send({ 0: 'A', 1: 'B' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A'], ['B']]);
});

test('a partition whose leader moves to a broker that has answered already is written there', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 2 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(2).beforeAppend = () => {
    cluster.leaders.set(1, 1);
    return { 1: ERROR.notLeader };
  };
  await producer.send({ 0: 'A', 1: 'B' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A'], ['B']]);
  assert.deepEqual(cluster.broker(1).produced, ['0: A', '1: B']);
});

test('a retry sends only the partitions that were not acknowledged', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 1 });
  const producer = await fakeProducer(cluster, 'plain');
  cluster.broker(1).beforeAppend = (attempt) => (attempt === 1 ? { 1: ERROR.notLeader } : {});
  await producer.send({ 0: 'A', 1: 'B' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A'], ['B']]);
});

test('a record keeps its partition in a retry, whatever the partitioner would choose then', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 1 });
  let turn = 0;
  const producer = await fakeProducer(cluster, 'plain', { partitioner: () => turn++ % 2 });
  cluster.broker(1).beforeAnswer = (attempt) => {
    if (attempt === 1) throw Object.assign(new Error('answer lost'), { retriable: true });
  };
  await producer.send({ 0: 'A' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [['A', 'A'], []]);
});

test('a send to a partition that the topic does not have is refused', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const producer = await fakeProducer(cluster, 'plain', { retries: 2 });
  await assert.rejects(producer.send({ 0: 'A', 7: 'B' }), /partition without metadata: topic 7/);
  assert.deepEqual(cluster.log(0), ['A']);
});

test('an error that no retry resolves ends the send without a retry, after every request is answered', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 2 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(1).beforeAppend = () => ({ 0: ERROR.messageTooLarge });
  cluster.broker(2).beforeAnswer = async () => {
    await delay(RETRY_WOULD_HAVE_BEGUN_MS);
  };
  await assert.rejects(producer.send({ 0: 'A', 1: 'B' }), { type: 'MESSAGE_TOO_LARGE' });
  assert.deepEqual([cluster.log(0), cluster.log(1)], [[], ['B']]);
  assert.equal(cluster.broker(1).produced.length, 1);
});

test('a producer that is disconnected during a send neither reconnects nor continues', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  let isDisconnected = false;
  const producer = await fakeProducer(cluster, 'idempotent', { isDisconnected: () => isDisconnected });
  cluster.broker(1).beforeAppend = () => {
    isDisconnected = true;
    cluster.connected = false;
    return { 0: ERROR.notLeader };
  };
  await assert.rejects(producer.send({ 0: 'A' }), /disconnected before all messages were acknowledged/);
  assert.equal(cluster.reconnects, 0);
});
