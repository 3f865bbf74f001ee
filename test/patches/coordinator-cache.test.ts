import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerClient, newName, newTopic, readAll, withAdmin, transactionalProducer } from './broker.ts';
import { type CoordinatorRequest, ERROR, FakeCluster, TOPIC } from './fake-cluster.ts';
import { fakeProducer } from './fake-producer.ts';
import { collectingLogger, createEosManager, type EosManager } from './kafkajs-internals.ts';

const PARTITIONS = [{ topic: TOPIC, partitions: [{ partition: 0 }] }];
const OFFSETS = {
  consumerGroupId: 'group',
  topics: [{ topic: TOPIC, partitions: [{ partition: 0, offset: '1' }] }],
};

async function initialized(
  cluster: FakeCluster,
  options: { transactionTimeout?: number; isDisconnected?: () => boolean } = {},
): Promise<EosManager> {
  const eosManager = createEosManager({
    logger: collectingLogger(),
    cluster,
    transactional: true,
    transactionalId: 'id',
    ...options,
  });
  await eosManager.initProducerId();
  return eosManager;
}

async function transact(eosManager: EosManager): Promise<void> {
  eosManager.beginTransaction();
  await eosManager.addPartitionsToTransaction(PARTITIONS);
  await eosManager.sendOffsets(OFFSETS);
  await eosManager.commit();
}

test('each coordinator is looked up once for all transactions', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster);
  for (let i = 0; i < 5; i++) await transact(eosManager);
  assert.equal(cluster.lookups, 2);
});

for (const [name, answer] of [
  ['NOT_COORDINATOR', ERROR.notCoordinator],
  ['COORDINATOR_NOT_AVAILABLE', ERROR.coordinatorNotAvailable],
  ['a refused connection', undefined],
] as const) {
  test(`after ${name} the coordinator is looked up again and the request repeated there`, async () => {
    const cluster = new FakeCluster({ 0: 1 });
    const eosManager = await initialized(cluster);
    await transact(eosManager);
    cluster.coordinator = 2;
    const served: string[] = [];
    cluster.onCoordinatorRequest = (request, nodeId) => {
      if (nodeId === 2) served.push(request);
      else if (answer === undefined) throw Object.assign(new Error('refused'), { code: 'ECONNREFUSED' });
      return nodeId === 2 ? undefined : answer;
    };
    await transact(eosManager);
    assert.deepEqual(served, ['addPartitions', 'addOffsets', 'commitOffsets', 'endTxn']);
    assert.equal(cluster.lookups, 4);
  });
}

for (const [name, code] of [
  ['CONCURRENT_TRANSACTIONS', ERROR.concurrentTransactions],
  ['COORDINATOR_LOAD_IN_PROGRESS', ERROR.coordinatorLoading],
] as const) {
  for (const busy of ['initProducerId', 'addPartitions', 'addOffsets', 'commitOffsets', 'endTxn'] as const) {
    test(`${busy} is repeated at the same coordinator after ${name}`, async () => {
      const cluster = new FakeCluster({ 0: 1 });
      const requests: CoordinatorRequest[] = [];
      cluster.onCoordinatorRequest = (request) => {
        requests.push(request);
        return request === busy && requests.filter((each) => each === busy).length <= 3 ? code : undefined;
      };
      await transact(await initialized(cluster));
      assert.equal(requests.filter((request) => request === busy).length, 4);
      assert.equal(requests.length, 5 + 3);
      assert.equal(cluster.lookups, 2);
    });
  }
}

test('a group is added to each transaction once, even if its offsets are sent later', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster);
  const requests: CoordinatorRequest[] = [];
  cluster.onCoordinatorRequest = (request) => void requests.push(request);
  for (let i = 0; i < 2; i++) {
    eosManager.beginTransaction();
    await eosManager.addOffsetsToTransaction(OFFSETS.consumerGroupId);
    await eosManager.addPartitionsToTransaction(PARTITIONS);
    await eosManager.sendOffsets(OFFSETS);
    await eosManager.commit();
  }
  const one = ['addOffsets', 'addPartitions', 'commitOffsets', 'endTxn'];
  assert.deepEqual(requests, [...one, ...one]);
});

test('a transaction that has only a group is ended at the coordinator', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster);
  const requests: CoordinatorRequest[] = [];
  cluster.onCoordinatorRequest = (request) => void requests.push(request);
  eosManager.beginTransaction();
  await eosManager.addOffsetsToTransaction(OFFSETS.consumerGroupId);
  await eosManager.abort();
  assert.deepEqual(requests, ['addOffsets', 'endTxn']);
});

test('an abort is repeated after CONCURRENT_TRANSACTIONS as a commit is', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster);
  let ends = 0;
  cluster.onCoordinatorRequest = (request) =>
    request === 'endTxn' && ++ends === 1 ? ERROR.concurrentTransactions : undefined;
  eosManager.beginTransaction();
  await eosManager.addPartitionsToTransaction(PARTITIONS);
  await eosManager.abort();
  assert.equal(ends, 2);
});

test('a refusal that a retry cannot resolve is thrown at once', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster);
  let commits = 0;
  cluster.onCoordinatorRequest = (request) => {
    if (request !== 'commitOffsets') return undefined;
    commits++;
    return ERROR.illegalGeneration;
  };
  eosManager.beginTransaction();
  await assert.rejects(eosManager.sendOffsets(OFFSETS), {
    name: 'KafkaJSProtocolError',
    type: 'ILLEGAL_GENERATION',
  });
  assert.equal(commits, 1);
});

test('a coordinator that stays busy longer than the transaction timeout is abandoned', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  const eosManager = await initialized(cluster, { transactionTimeout: 20 });
  cluster.onCoordinatorRequest = () => ERROR.concurrentTransactions;
  eosManager.beginTransaction();
  await assert.rejects(eosManager.addPartitionsToTransaction(PARTITIONS), {
    type: 'CONCURRENT_TRANSACTIONS',
  });
});

test('a disconnected producer stops asking its coordinator', async () => {
  const cluster = new FakeCluster({ 0: 1 });
  let isDisconnected = false;
  const eosManager = await initialized(cluster, { isDisconnected: () => isDisconnected });
  let requests = 0;
  cluster.onCoordinatorRequest = () => {
    requests++;
    isDisconnected = true;
    return ERROR.concurrentTransactions;
  };
  eosManager.beginTransaction();
  await assert.rejects(eosManager.addPartitionsToTransaction(PARTITIONS), {
    type: 'CONCURRENT_TRANSACTIONS',
  });
  assert.equal(requests, 1);
});

test('a send of several partitions adds them to the transaction in one request', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 2 });
  const producer = await fakeProducer(cluster, 'transactional');
  let requests = 0;
  cluster.onCoordinatorRequest = (request) => {
    if (request === 'addPartitions') requests++;
    return undefined;
  };
  await producer.send({ 0: 'A', 1: 'B' });
  assert.equal(requests, 1);
});

test('a transaction with its group begins on a real broker when the one before is written', { timeout: 60_000 }, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const consumerGroupId = newName('group');
  const producer = await transactionalProducer(t, kafka);
  for (let i = 1; i <= 5; i++) {
    const transaction = await producer.transaction({ consumerGroupId });
    const { high, low } = (await withAdmin(kafka, (admin) => admin.fetchTopicOffsets(topic)))[0]!;
    // The records and markers of those before: what is committed can be read up to there.
    assert.equal(Number(high) - Number(low), 2 * (i - 1));
    await Promise.all([
      transaction.send({ topic, messages: [{ value: String(i) }] }),
      transaction.sendOffsets({ consumerGroupId, topics: [{ topic, partitions: [{ partition: 0, offset: String(i) }] }] }),
    ]);
    await transaction.commit();
  }
  assert.deepEqual(await readAll(kafka, topic), { 0: ['1', '2', '3', '4', '5'] });
});

test('transactions back to back on a real broker look up two coordinators and log no error', { timeout: 60_000 }, async (t) => {
  const errors: string[] = [];
  const kafka = brokerClient(errors);
  const topic = await newTopic(kafka, 2);
  const groupId = newName('group');
  const transactions = 20;
  const producer = await transactionalProducer(t, kafka);
  const transactOnce = async (value: string): Promise<void> => {
    const transaction = await producer.transaction();
    await transaction.send({ topic, messages: [0, 1].map((partition) => ({ partition, value })) });
    await transaction.sendOffsets({
      consumerGroupId: groupId,
      topics: [{ topic, partitions: [{ partition: 0, offset: value }] }],
    });
    await transaction.commit();
  };
  // The first transaction may meet a coordinator that is still loading.
  await transactOnce('0');
  errors.length = 0;
  let lookups = 0;
  producer.on(producer.events.REQUEST, ({ payload }) => {
    if (payload.apiName === 'GroupCoordinator') lookups++;
  });
  const values = Array.from({ length: transactions }, (_, i) => String(i));
  for (const value of values.slice(1)) await transactOnce(value);
  assert.equal(lookups, 0);
  assert.deepEqual(errors, []);
  assert.deepEqual(await readAll(kafka, topic), { 0: values, 1: values });
});
