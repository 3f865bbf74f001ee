import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Consumer, ConsumerGroupJoinEvent, Kafka, Transaction } from 'kafkajs';
import { until } from '../streams/until.ts';
import { brokerClient, newName, newTopic, readAll, withAdmin, transactionalProducer } from './broker.ts';

const OPTIONS = { timeout: 60_000 };
// Long enough for several answers of the broker, were they not held back.
const SEVERAL_REQUESTS_MS = 300;

type Member = ConsumerGroupJoinEvent['payload'];

/** A consumer that reads nothing, once it has joined. */
async function join(t: TestContext, kafka: Kafka, groupId: string, topic: string): Promise<Member> {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  t.after(() => consumer.disconnect());
  return run(consumer, topic, () => undefined);
}

async function run(consumer: Consumer, topic: string, onRecord: (offset: string) => void): Promise<Member> {
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const joined = new Promise<Member>((resolve) => {
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => resolve(payload));
  });
  await consumer.run({
    autoCommit: false,
    eachMessage: ({ message }) => {
      onRecord(message.offset);
      return Promise.resolve();
    },
  });
  return joined;
}

function sendOffset(
  transaction: Transaction,
  to: { groupId: string; topic: string; offset: string; memberId?: string; generationId?: number },
): Promise<void> {
  const { groupId, topic, offset, ...member } = to;
  return transaction.sendOffsets({
    consumerGroupId: groupId,
    topics: [{ topic, partitions: [{ partition: 0, offset }] }],
    ...member,
  });
}

async function committedOffset(kafka: Kafka, groupId: string, topic: string, requireStable = false) {
  const [offsets] = await withAdmin(kafka, (admin) =>
    admin.fetchOffsets({ groupId, topics: [topic], requireStable }),
  );
  return offsets?.partitions[0]?.offset;
}

test('the current member of the current generation commits its offsets', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { memberId, generationId } = await join(t, kafka, groupId, topic);
  assert.equal(generationId, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.send({ topic, messages: [{ value: 'A' }] });
  await sendOffset(transaction, { groupId, topic, offset: '5', memberId, generationId });
  await transaction.commit();
  assert.equal(await committedOffset(kafka, groupId, topic, true), '5');
  assert.deepEqual(await readAll(kafka, topic), { 0: ['A'] });
});

test('a commit of an older generation is refused and none of it is visible', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { memberId, generationId } = await join(t, kafka, groupId, topic);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.send({ topic, messages: [{ value: 'of a zombie' }] });
  await assert.rejects(
    sendOffset(transaction, { groupId, topic, offset: '5', memberId, generationId: generationId - 1 }),
    { name: 'KafkaJSProtocolError', type: 'ILLEGAL_GENERATION' },
  );
  await transaction.abort();
  assert.equal(await committedOffset(kafka, groupId, topic, true), '-1');
  assert.deepEqual(await readAll(kafka, topic), { 0: [] });
});

test('a commit of a member that the group does not know is refused', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { generationId } = await join(t, kafka, groupId, topic);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await assert.rejects(
    sendOffset(transaction, { groupId, topic, offset: '5', memberId: 'expelled', generationId }),
    { name: 'KafkaJSProtocolError', type: 'UNKNOWN_MEMBER_ID' },
  );
  await transaction.abort();
  assert.equal(await committedOffset(kafka, groupId, topic, true), '-1');
});

test('without a member the offsets are committed unchecked, as kafkajs always did', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await sendOffset(transaction, { groupId, topic, offset: '5' });
  await transaction.commit();
  assert.equal(await committedOffset(kafka, groupId, topic, true), '5');
});

test('stable offsets are returned only after the transaction with newer ones has ended', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await sendOffset(transaction, { groupId, topic, offset: '5' });
  assert.equal(await committedOffset(kafka, groupId, topic), '-1');
  let isCommitted = false;
  const stable = committedOffset(kafka, groupId, topic, true).then((offset) => ({ offset, isCommitted }));
  await Promise.race([stable, delay(SEVERAL_REQUESTS_MS)]);
  isCommitted = true;
  await transaction.commit();
  assert.deepEqual(await stable, { offset: '5', isCommitted: true });
});

test('a consumer waits for the open transaction of the previous owner and begins after it', OPTIONS, async (t) => {
  const errors: string[] = [];
  const kafka = brokerClient(errors);
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const producer = await transactionalProducer(t, brokerClient());
  const setup = await producer.transaction();
  await setup.send({ topic, messages: ['A', 'B', 'C'].map((value) => ({ value })) });
  await setup.commit();
  const transaction = await producer.transaction();
  await sendOffset(transaction, { groupId, topic, offset: '2' });
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
  t.after(() => consumer.disconnect());
  const offsets: string[] = [];
  const firstRecord = new EventTarget();
  await run(consumer, topic, (offset) => {
    offsets.push(offset);
    firstRecord.dispatchEvent(new Event('record'));
  });
  const read = once(firstRecord, 'record');
  await Promise.race([read, delay(SEVERAL_REQUESTS_MS)]);
  await transaction.commit();
  await read;
  assert.deepEqual(offsets, ['2']);
  assert.deepEqual(errors.filter((error) => error.includes('unstable')), []);
});

test('the high watermark and the last stable offset differ while a transaction is open', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.send({ topic, messages: [{ value: 'A' }, { value: 'B' }] });
  await withAdmin(kafka, async (admin) => {
    const end = async (options?: { isolationLevel: 0 | 1 }): Promise<string | undefined> =>
      (await admin.fetchTopicOffsets(topic, options))[0]?.high;
    assert.equal(await end({ isolationLevel: 0 }), '2');
    assert.equal(await end({ isolationLevel: 1 }), '0');
    assert.equal(await end(), '0');
    await transaction.commit();
    // The marker: the commit is answered before all of them are written.
    await until('the marker', async () => ((await end({ isolationLevel: 0 })) === '3' ? true : undefined));
  });
});

test('the events of a batch without records carry the offset it was fetched from', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const producer = await transactionalProducer(t, brokerClient());
  const transaction = await producer.transaction();
  await transaction.send({ topic, messages: [{ value: 'A' }] });
  await transaction.abort();
  const consumer = kafka.consumer({ groupId: newName('group'), maxWaitTimeInMs: 100 });
  t.after(() => consumer.disconnect());
  const passed = new Promise<object>((resolve) => {
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { batchSize, fetchedOffset, lastOffset } }) =>
      resolve({ batchSize, fetchedOffset, lastOffset }),
    );
  });
  await run(consumer, topic, () => assert.fail('an aborted record was delivered'));
  assert.deepEqual(await passed, { batchSize: 0, fetchedOffset: '0', lastOffset: '1' });
});
