import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Transaction } from 'kafkajs';
import { stableOffsets } from '../kafka/stable-offsets.ts';
import { until } from '../streams/until.ts';
import { brokerClient, dividing, newMember, newName, newTopic, readAll, withAdmin, transactionalProducer } from './broker.ts';

const OPTIONS = { timeout: 60_000 };
// Long enough for several answers of the broker, were they not held back.
const SEVERAL_REQUESTS_MS = 300;

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

test('the current member of the current generation commits its offsets', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { memberId, generationId } = await (await newMember(t, kafka, groupId)).join(dividing(topic));
  assert.equal(generationId, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.send({ topic, messages: [{ value: 'A' }] });
  await sendOffset(transaction, { groupId, topic, offset: '5', memberId, generationId });
  await transaction.commit();
  assert.deepEqual(await stableOffsets(kafka, groupId, topic), ['5']);
  assert.deepEqual(await readAll(kafka, topic), { 0: ['A'] });
});

test('a commit of an older generation is refused and none of it is visible', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { memberId, generationId } = await (await newMember(t, kafka, groupId)).join(dividing(topic));
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.send({ topic, messages: [{ value: 'of a zombie' }] });
  await assert.rejects(
    sendOffset(transaction, { groupId, topic, offset: '5', memberId, generationId: generationId - 1 }),
    { name: 'KafkaJSProtocolError', type: 'ILLEGAL_GENERATION' },
  );
  await transaction.abort();
  assert.deepEqual(await stableOffsets(kafka, groupId, topic), ['-1']);
  assert.deepEqual(await readAll(kafka, topic), { 0: [] });
});

test('a commit of a member that the group does not know is refused', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const { generationId } = await (await newMember(t, kafka, groupId)).join(dividing(topic));
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await assert.rejects(
    sendOffset(transaction, { groupId, topic, offset: '5', memberId: 'expelled', generationId }),
    { name: 'KafkaJSProtocolError', type: 'UNKNOWN_MEMBER_ID' },
  );
  await transaction.abort();
  assert.deepEqual(await stableOffsets(kafka, groupId, topic), ['-1']);
});

test('without a member the offsets are committed unchecked, as kafkajs always did', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await sendOffset(transaction, { groupId, topic, offset: '5' });
  await transaction.commit();
  assert.deepEqual(await stableOffsets(kafka, groupId, topic), ['5']);
});

test('stable offsets are returned only after the transaction with newer ones has ended', OPTIONS, async (t) => {
  const kafka = brokerClient();
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await sendOffset(transaction, { groupId, topic, offset: '5' });
  const [plain] = await withAdmin(kafka, (admin) => admin.fetchOffsets({ groupId, topics: [topic] }));
  assert.equal(plain?.partitions[0]?.offset, '-1');
  let isCommitted = false;
  const stable = stableOffsets(kafka, groupId, topic).then((offsets) => ({ offsets, isCommitted }));
  await Promise.race([stable, delay(SEVERAL_REQUESTS_MS)]);
  isCommitted = true;
  await transaction.commit();
  assert.deepEqual(await stable, { offsets: ['5'], isCommitted: true });
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
