import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import type { Consumer } from 'kafkajs';
import { soon } from '../streams/until.ts';
import { brokerClient, newName, newTopic, withAdmin } from './broker.ts';

const OPTIONS = { timeout: 60_000 };
const kafka = brokerClient();

/** A topic of the records 0 to 9, of which 0 to 5 are deleted, and a group with the committed offset `committed`. */
async function shortenedLog(committed: string): Promise<{ topic: string; groupId: string }> {
  const topic = await newTopic(kafka, 1);
  const groupId = newName('group');
  await send(topic, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
  await withAdmin(kafka, async (admin) => {
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: committed }] });
    await admin.fetchTopicOffsets(topic);
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] });
  });
  return { topic, groupId };
}

async function send(topic: string, values: string[]): Promise<void> {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, messages: values.map((value) => ({ value })) });
  await producer.disconnect();
}

/** What a consumer reads until it has read `last`, and the first offset it fetched from; it commits nothing. */
async function readUpTo(
  t: TestContext,
  consumer: Consumer,
  options: { topic: string; fromBeginning: boolean; last: string; onReset?: () => Promise<void> },
): Promise<{ values: string[]; fetchedOffset: string | undefined }> {
  const { topic, fromBeginning, last } = options;
  t.after(() => consumer.disconnect());
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning });
  const values: string[] = [];
  let fetchedOffset: string | undefined;
  const reached = new Promise<void>((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer.on(consumer.events.START_BATCH_PROCESS, ({ payload }) => {
      fetchedOffset ??= payload.fetchedOffset;
    });
    void consumer
      .run({
        autoCommit: false,
        eachMessage: ({ message: { value } }) => {
          values.push(String(value));
          if (String(value) === last) resolve();
          return Promise.resolve();
        },
      })
      .catch(reject);
  });
  await options.onReset?.();
  await soon(`the record ${last}`, reached);
  return { values, fetchedOffset };
}

async function committedOffset(groupId: string, topic: string): Promise<string | undefined> {
  const [offsets] = await withAdmin(kafka, (admin) => admin.fetchOffsets({ groupId, topics: [topic] }));
  return offsets?.partitions[0]?.offset;
}

for (const [where, committed] of Object.entries({ 'before the start': '2', 'behind the end': '50' })) {
  test(`without autoCommit a position ${where} of the log is read on from its start and stays committed`, OPTIONS, async (t) => {
    const { topic, groupId } = await shortenedLog(committed);
    const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 100 });
    const read = await readUpTo(t, consumer, { topic, fromBeginning: true, last: '9' });
    assert.deepEqual(read, { values: ['6', '7', '8', '9'], fetchedOffset: '6' });
    assert.equal(await committedOffset(groupId, topic), committed);
  });
}

test('without autoCommit and fromBeginning, reading continues at the end of the log, and nothing is committed', OPTIONS, async (t) => {
  const { topic, groupId } = await shortenedLog('2');
  const errors: string[] = [];
  const consumer = brokerClient(errors).consumer({ groupId, maxWaitTimeInMs: 100 });
  const read = await readUpTo(t, consumer, {
    topic,
    fromBeginning: false,
    last: 'new',
    onReset: async () => {
      // Written only when the position has been moved to the end, else there would be no telling what was skipped.
      await soon('the second fetch', fetchesAfterReset(consumer, errors));
      await send(topic, ['new']);
    },
  });
  assert.deepEqual(read, { values: ['new'], fetchedOffset: '10' });
  assert.equal(await committedOffset(groupId, topic), '2');
});

/** Resolves when two fetches have ended after the one that found the position out of range. */
function fetchesAfterReset(consumer: Consumer, errors: readonly string[]): Promise<void> {
  return new Promise((resolve) => {
    let after = 0;
    consumer.on(consumer.events.FETCH, () => {
      if (errors.some((error) => error.includes('out of range'))) after++;
      if (after === 3) resolve();
    });
  });
}
