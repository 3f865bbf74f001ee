import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Membership } from 'kafkajs';
import { kafkaErrorType } from '../../kafka/client.ts';
import { until } from '../streams/until.ts';
import { brokerClient, dividing, newMember, newName, newTopic, transactionalProducer } from './broker.ts';

const OPTIONS = { timeout: 60_000 };
const kafka = brokerClient();

/** Sends heartbeats until the group refuses one, and answers why. */
function refused(member: Membership): Promise<string> {
  return until('a heartbeat to be refused', () =>
    member.heartbeat().then(
      () => undefined,
      (error: unknown) => kafkaErrorType(error) ?? 'no broker',
    ),
  );
}

test('members join, are told of a rebalance by their heartbeats, rejoin under their names and leave', OPTIONS, async (t) => {
  const groupId = newName('group');
  const topic = await newTopic(kafka, 2);
  const first = await newMember(t, kafka, groupId);
  const alone = await first.join(dividing(topic));
  assert.deepEqual([alone.generationId, alone.isLeader, alone.assignment], [1, true, { [topic]: [0] }]);
  await first.heartbeat();

  const second = await newMember(t, kafka, groupId);
  const joining = second.join(dividing(topic));
  assert.equal(await refused(first), 'REBALANCE_IN_PROGRESS');
  const both = await Promise.all([first.join(dividing(topic)), joining]);
  assert.equal(both[0].memberId, alone.memberId);
  assert.deepEqual(
    both.map(({ generationId }) => generationId),
    [2, 2],
  );
  assert.deepEqual(both.map(({ isLeader }) => isLeader).sort(), [false, true]);
  assert.deepEqual(both.flatMap(({ assignment }) => assignment[topic]).sort(), [0, 1]);

  await second.leave();
  assert.equal(await refused(first), 'REBALANCE_IN_PROGRESS');
  const again = await first.join(dividing(topic));
  assert.deepEqual([again.memberId, again.generationId], [alone.memberId, 3]);
  assert.deepEqual(again.assignment, { [topic]: [0] });
  await first.leave();
});

test('a member that forgets its name joins under a new one, and its old one is refused', OPTIONS, async (t) => {
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const member = await newMember(t, kafka, groupId, 1_000);
  const { memberId } = await member.join(dividing(topic));
  member.forget();
  await assert.rejects(member.heartbeat(), { type: 'UNKNOWN_MEMBER_ID' });
  // The group waits for the old one until the rebalance timeout.
  const rejoined = await member.join(dividing(topic));
  assert.notEqual(rejoined.memberId, memberId);
});

test('a member commits offsets under its generation, and reads those that no open transaction holds back', OPTIONS, async (t) => {
  const groupId = newName('group');
  const topic = await newTopic(kafka, 2);
  const member = await newMember(t, kafka, groupId);
  await member.join(dividing(topic));
  await member.commitOffsets({ topics: [{ topic, partitions: [{ partition: 0, offset: '7' }] }] });
  const transaction = await (await transactionalProducer(t, brokerClient())).transaction();
  await transaction.sendOffsets({
    consumerGroupId: groupId,
    topics: [{ topic, partitions: [{ partition: 1, offset: '5' }] }],
  });
  const committed = async (): Promise<string[]> => {
    const partitions = [{ partition: 0 }, { partition: 1 }];
    const [answer] = await member.fetchOffsets({ topics: [{ topic, partitions }], requireStable: true });
    return (answer?.partitions ?? []).map(({ partition, offset, error }) => `${partition} ${error?.type ?? offset}`);
  };
  assert.deepEqual((await committed()).sort(), ['0 7', '1 UNSTABLE_OFFSET_COMMIT']);
  await transaction.commit();
  await until('the marker', async () => (await committed()).includes('1 5') || undefined);

  const stranger = await newMember(t, kafka, groupId);
  await assert.rejects(
    stranger.commitOffsets({ topics: [{ topic, partitions: [{ partition: 0, offset: '9' }] }] }),
    { type: 'UNKNOWN_MEMBER_ID' },
  );
});

test('a member disconnects at once while its first join waits for the others of the group', OPTIONS, async (t) => {
  const groupId = newName('group');
  const topic = await newTopic(kafka, 1);
  const first = await newMember(t, kafka, groupId);
  await first.join(dividing(topic));
  const second = await newMember(t, kafka, groupId);
  // It is answered when the first one has joined again, which that does not.
  const join = second.join(dividing(topic)).then(
    () => 'joined',
    (error: unknown) => (error as Error).name,
  );
  assert.equal(await refused(first), 'REBALANCE_IN_PROGRESS');
  await second.disconnect();
  assert.equal(await join, 'KafkaJSConnectionClosedError');
  // A member that still has something to say, as one that leaves when its join was answered, opens no connection.
  await assert.rejects(second.join(dividing(topic)), { name: 'KafkaJSConnectionClosedError' });
  await first.leave();
});
