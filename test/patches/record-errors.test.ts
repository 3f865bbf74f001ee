import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import kafkajs, { type Message, type PartitionError } from 'kafkajs';
import { brokerClient, newName, transactionalProducer, withAdmin } from './broker.ts';
import { ERROR, FakeCluster } from './fake-cluster.ts';
import { fakeProducer } from './fake-producer.ts';
import { decodeProduceResponse, produceRequestVersions } from './kafkajs-internals.ts';
import { int16, int32, int64 } from './record-batch.ts';

const dayMs = 86_400_000;
const planted = 'planted-51c9';

test('a response of version 8 is decoded, with the records that were refused and the texts of the broker', async () => {
  const text = (value: string | null): Buffer => {
    if (value === null) return int16(-1);
    return Buffer.concat([int16(value.length), Buffer.from(value)]);
  };
  const partition = (id: number, code: number, errors: readonly [number, string | null][], message: string | null) =>
    Buffer.concat([
      int32(id),
      int16(code),
      ...[7n, -1n, 5n].map(int64),
      int32(errors.length),
      ...errors.flatMap(([index, why]) => [int32(index), text(why)]),
      text(message),
    ]);
  const response = Buffer.concat([
    int32(1),
    text('raw'),
    int32(2),
    partition(0, 0, [], null),
    partition(3, 87, [[2, 'no key'], [9, null]], 'one or more'),
    int32(0),
  ]);
  const { topics } = await decodeProduceResponse(8, response);
  const offsets = { baseOffset: '7', logAppendTime: '-1', logStartOffset: '5' };
  assert.deepEqual(topics, [
    {
      topicName: 'raw',
      partitions: [
        { partition: 0, errorCode: 0, ...offsets, recordErrors: [], errorMessage: null },
        {
          partition: 3,
          errorCode: 87,
          ...offsets,
          recordErrors: [
            { batchIndex: 2, batchIndexErrorMessage: 'no key' },
            { batchIndex: 9, batchIndexErrorMessage: null },
          ],
          errorMessage: 'one or more',
        },
      ],
    },
  ]);
});

test('the client speaks every version from 0 to 8', () => {
  assert.deepEqual(produceRequestVersions(), ['0', '1', '2', '3', '4', '5', '6', '7', '8']);
});

for (const compression of [kafkajs.CompressionTypes.None, kafkajs.CompressionTypes.GZIP]) {
  test(`a broker names the refused records of each partition, compression ${compression}`, { timeout: 60_000 }, async (t) => {
    const kafka = brokerClient();
    const [timed, compacted, large] = [newName('timed'), newName('compacted'), newName('large')];
    const compact = [{ name: 'cleanup.policy', value: 'compact' }];
    const small = [{ name: 'max.message.bytes', value: '300' }];
    await withAdmin(kafka, (admin) =>
      admin.createTopics({
        waitForLeaders: true,
        topics: [
          { topic: timed, numPartitions: 2 },
          { topic: compacted, numPartitions: 1, configEntries: compact },
          { topic: large, numPartitions: 1, configEntries: small },
        ],
      }),
    );
    const producer = await transactionalProducer(t, kafka);
    // Repeated until the leaders of the new topics serve them: else some partitions answer that instead.
    const first = await producer.transaction();
    const topicMessages = [timed, compacted, large].map((topic) => ({
      topic,
      messages: (topic === timed ? [0, 1] : [0]).map((partition) => ({ partition, key: 'k', value: 'v' })),
    }));
    await first.sendBatch({ topicMessages });
    await first.commit();
    const transaction = await producer.transaction();
    const now = Date.now();
    const ahead = now + 2 * dayMs;
    const times = (partition: number, ...timestamps: number[]): Message[] =>
      timestamps.map((timestamp) => ({ partition, key: 'k', value: planted, timestamp }));
    const error = await transaction
      .sendBatch({
        compression,
        topicMessages: [
          { topic: timed, messages: [...times(0, now, ahead, now, ahead), ...times(1, now, now)] },
          { topic: compacted, messages: [{ key: 'k', value: planted }, { key: null, value: planted }] },
          { topic: large, messages: [{ key: null, value: Array.from({ length: 400 }, () => Math.random()).join() }] },
        ],
      })
      .then(() => assert.fail('it was not refused'), (reason: unknown) => reason as PartitionError);
    const { partitionErrors } = error as unknown as { partitionErrors: PartitionError[] };
    const found = partitionErrors
      .map(({ topic, partition, type, messages, recordErrors }) => ({
        topic,
        partition,
        type,
        sent: messages.length,
        refused: recordErrors.map(({ batchIndex }) => batchIndex),
      }))
      .sort((a, b) => [timed, compacted, large].indexOf(a.topic) - [timed, compacted, large].indexOf(b.topic));
    assert.deepEqual(found, [
      { topic: timed, partition: 0, type: 'INVALID_TIMESTAMP', sent: 4, refused: [1, 3] },
      { topic: compacted, partition: 0, type: 'INVALID_RECORD', sent: 2, refused: [1] },
      { topic: large, partition: 0, type: 'MESSAGE_TOO_LARGE', sent: 1, refused: [] },
    ]);
    for (const { recordErrors, errorMessage, messages } of partitionErrors.filter(({ topic }) => topic !== large)) {
      assert.ok((errorMessage ?? '').length > 0);
      for (const { batchIndex, batchIndexErrorMessage } of recordErrors) {
        assert.ok((batchIndexErrorMessage ?? '').length > 0);
        assert.ok(messages[batchIndex] !== undefined);
      }
    }
    assert.ok(!inspect(error, { depth: 10 }).includes(planted), 'a printed error shows the records');
    assert.ok(!JSON.stringify(error).includes(planted), 'an error as JSON shows the records');
    await transaction.abort();
  });
}

test('an answer without a word about records has the records of its partition all the same', async () => {
  const cluster = new FakeCluster({ 0: 1, 1: 1 });
  const producer = await fakeProducer(cluster, 'idempotent');
  cluster.broker(1).beforeAppend = () => ({ 1: ERROR.messageTooLarge });
  const error = await producer
    .send({ 0: 'A', 1: 'B' })
    .then(() => assert.fail('it was not refused'), (reason: unknown) => reason as object);
  const [only, ...more] = (error as { partitionErrors: PartitionError[] }).partitionErrors;
  assert.deepEqual(more, []);
  assert.deepEqual([only?.partition, only?.type, only?.recordErrors, only?.errorMessage], [1, 'MESSAGE_TOO_LARGE', [], null]);
  assert.deepEqual(only?.messages.map(({ value }) => String(value)), ['B']);
});
