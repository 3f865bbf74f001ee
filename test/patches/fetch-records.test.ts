import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test, type TestContext } from 'node:test';
import kafkajs, {
  type CompressionTypes,
  type Admin,
  type FetchedRecords,
  type ISocketFactory,
  type Message,
  type Transaction,
} from 'kafkajs';
import { until } from '../streams/until.ts';
import { brokerClient, newName, newTopic, withAdmin, transactionalProducer } from './broker.ts';

const { None, GZIP } = kafkajs.CompressionTypes;
const OPTIONS = { timeout: 60_000 };
const FETCH_REQUEST = 1;
/** Every request begins with its length (4 bytes), then its number. */
const REQUEST_NUMBER_OFFSET = 4;

const kafka = brokerClient();
const admin = kafka.admin();
before(() => admin.connect());
after(() => admin.disconnect());

/**
 * The fetches of partition 0 that brought something, until one has reached `end`: the high watermark unless given. What
 * ends with a marker gives it, because the end of a transaction is answered before its markers are written.
 */
async function fetches(
  topic: string,
  options: { offset?: string; end?: string; maxBytes?: number; isolationLevel?: 0 | 1 } = {},
): Promise<FetchedRecords[]> {
  const { end, ...ofFetch } = options;
  const answers: FetchedRecords[] = [];
  let offset = options.offset ?? '0';
  for (let inVain = 0; inVain < 100;) {
    const answer = await admin.fetchRecords({ topic, partition: 0, ...ofFetch, offset });
    if (answer.nextOffset === offset) {
      inVain++;
      continue;
    }
    answers.push(answer);
    offset = answer.nextOffset;
    if (BigInt(offset) >= BigInt(end ?? answer.highWatermark)) return answers;
  }
  throw new Error(`no progress at offset ${offset}`);
}

const offsetsOf = ({ records }: FetchedRecords): string[] => records.map(({ offset }) => offset);
const valuesOf = (answers: FetchedRecords[]): string[] =>
  answers.flatMap(({ records }) => records.map(({ value }) => String(value)));

async function send(
  topic: string,
  messages: Message[],
  options: { compression?: CompressionTypes; idempotent?: boolean } = {},
): Promise<void> {
  const { idempotent = false, ...ofSend } = options;
  const producer = kafka.producer({ idempotent, maxInFlightRequests: 1 });
  await producer.connect();
  try {
    await producer.send({ topic, messages, ...ofSend });
  } finally {
    await producer.disconnect();
  }
}

/** Begins transactions of one producer, with a client of its own. */
async function transactions(t: TestContext): Promise<() => Promise<Transaction>> {
  const producer = await transactionalProducer(t, brokerClient());
  return () => producer.transaction();
}

const numbered = (count: number, name = 'value'): Message[] =>
  Array.from({ length: count }, (_, i) => ({ value: `${name} ${i}` }));

test('records are read as they were written, with their headers, empty keys and null values', OPTIONS, async () => {
  const topic = await newTopic(kafka, 2);
  await send(topic, [
    { partition: 1, key: 'a', value: 'A', headers: { h: 'one', many: ['x', 'y'] }, timestamp: '1700000000000' },
    { partition: 1, key: 'b', value: null },
    { partition: 1, key: null, value: '' },
  ]);
  const answer = await admin.fetchRecords({ topic, partition: 1, offset: '0' });
  assert.deepEqual(
    answer.records.map(({ offset, key, value, headers }) => ({ offset, key, value, headers })),
    [
      {
        offset: '0',
        key: Buffer.from('a'),
        value: Buffer.from('A'),
        headers: { h: Buffer.from('one'), many: [Buffer.from('x'), Buffer.from('y')] },
      },
      { offset: '1', key: Buffer.from('b'), value: null, headers: {} },
      { offset: '2', key: null, value: Buffer.alloc(0), headers: {} },
    ],
  );
  assert.equal(answer.records[0]!.timestamp, '1700000000000');
  const { nextOffset, highWatermark, logStartOffset, lastStableOffset } = answer;
  assert.deepEqual({ nextOffset, highWatermark, logStartOffset, lastStableOffset }, { nextOffset: '3', highWatermark: '3', logStartOffset: '0', lastStableOffset: '3' });
});

test('a fetch at the end of the log returns no records and the requested offset', OPTIONS, async () => {
  const topic = await newTopic(kafka, 1);
  const empty = { records: [], logStartOffset: '0' };
  const ends = (offset: string) => ({ nextOffset: offset, highWatermark: offset, lastStableOffset: offset });
  assert.deepEqual(await admin.fetchRecords({ topic, partition: 0, offset: '0' }), { ...empty, ...ends('0') });
  await send(topic, numbered(2));
  assert.deepEqual(await admin.fetchRecords({ topic, partition: 0, offset: '2' }), { ...empty, ...ends('2') });
});

for (const compression of [None, GZIP]) {
  test(`a fetch from within a batch begins at its offset, with compression ${compression}`, OPTIONS, async () => {
    const topic = await newTopic(kafka, 1);
    await send(topic, numbered(5), { compression });
    const answer = await admin.fetchRecords({ topic, partition: 0, offset: '3' });
    assert.deepEqual(valuesOf([answer]), ['value 3', 'value 4']);
    assert.equal(answer.nextOffset, '5');
  });
}

test('a fetch that ends within a batch is continued without a gap and without a repetition', OPTIONS, async () => {
  const topic = await newTopic(kafka, 1);
  for (let batch = 0; batch < 5; batch++) await send(topic, numbered(20, `batch ${batch}`));
  // A batch has about 600 bytes: two and a part of the third.
  const answers = await fetches(topic, { maxBytes: 1_500 });
  assert.ok(answers.length > 1);
  assert.deepEqual(
    answers.flatMap(offsetsOf),
    Array.from({ length: 100 }, (_, i) => String(i)),
  );
});

test('a batch that is larger than maxBytes is returned whole', OPTIONS, async () => {
  const topic = await newTopic(kafka, 1);
  await send(topic, numbered(500));
  await send(topic, numbered(1));
  const [first, ...others] = await fetches(topic, { maxBytes: 10 });
  assert.equal(first?.records.length, 500);
  assert.equal(first.nextOffset, '500');
  assert.equal(others.length, 1);
});

test('committed records are returned, and aborted ones and markers are skipped', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 1);
  const begin = await transactions(t);
  const [aborted, committed] = [await begin(), await (await transactions(t))()];
  await aborted.send({ topic, messages: [{ value: 'aborted 0' }, { value: 'aborted 1' }] });
  await committed.send({ topic, messages: [{ value: 'committed 2' }] });
  await aborted.send({ topic, messages: [{ value: 'aborted 3' }] });
  await aborted.abort();
  await committed.commit();
  const last = await begin();
  await last.send({ topic, messages: [{ value: 'committed 6' }] });
  await last.commit();
  const end = '8';
  const answers = await fetches(topic, { end });
  assert.deepEqual(valuesOf(answers), ['committed 2', 'committed 6']);
  assert.equal(answers.at(-1)!.nextOffset, end);
  assert.deepEqual(valuesOf(await fetches(topic, { end, maxBytes: 1 })), ['committed 2', 'committed 6']);
  assert.deepEqual(valuesOf(await fetches(topic, { end, isolationLevel: 0 })), [
    'aborted 0',
    'aborted 1',
    'committed 2',
    'aborted 3',
    'committed 6',
  ]);
});

test('a committed reader gets no further than the first open transaction', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 1);
  await send(topic, numbered(1));
  const open = await (await transactions(t))();
  await open.send({ topic, messages: [{ value: 'open' }] });
  const answer = await admin.fetchRecords({ topic, partition: 0, offset: '0' });
  assert.deepEqual(valuesOf([answer]), ['value 0']);
  const { nextOffset, highWatermark, lastStableOffset } = answer;
  assert.deepEqual({ nextOffset, highWatermark, lastStableOffset }, { nextOffset: '1', highWatermark: '2', lastStableOffset: '1' });
  const behind = await admin.fetchRecords({ topic, partition: 0, offset: '1' });
  assert.deepEqual([behind.records, behind.nextOffset], [[], '1']);
  const uncommitted = await admin.fetchRecords({ topic, partition: 0, offset: '1', isolationLevel: 0 });
  assert.deepEqual([valuesOf([uncommitted]), uncommitted.nextOffset, uncommitted.lastStableOffset], [['open'], '2', '1']);
  await open.commit();
  assert.deepEqual(valuesOf(await fetches(topic, { offset: '1' })), ['open']);
});

test('a log that ends in 1,000 aborted records is read to its end', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 1);
  await send(topic, numbered(1));
  const transaction = await (await transactions(t))();
  for (let batch = 0; batch < 10; batch++) await transaction.send({ topic, messages: numbered(100) });
  await transaction.abort();
  for (const maxBytes of [1, 5_000, 1_000_000]) {
    const answers = await fetches(topic, { end: '1002', maxBytes });
    assert.deepEqual(answers.flatMap(offsetsOf), ['0']);
    assert.equal(answers.at(-1)!.nextOffset, '1002');
  }
});

test('a log that holds only markers is read to its end', OPTIONS, async (t) => {
  const topic = await newTopic(kafka, 1);
  const begin = await transactions(t);
  for (let i = 0; i < 3; i++) {
    const transaction = await begin();
    await assert.rejects(transaction.send({ topic, messages: [{ value: Buffer.alloc(2_000_000) }] }), {
      type: 'MESSAGE_TOO_LARGE',
    });
    await transaction.abort();
  }
  for (const isolationLevel of [0, 1] as const) {
    const answers = await fetches(topic, { end: '3', isolationLevel });
    assert.deepEqual([answers.flatMap(offsetsOf), answers.at(-1)!.nextOffset], [[], '3']);
  }
});

test('a compacted log is read to its end, across batches that lost their last records or all of them', { timeout: 120_000 }, async () => {
  const topic = newName('compacted');
  await admin.createTopics({
    topics: [
      {
        topic,
        numPartitions: 1,
        replicationFactor: 1,
        configEntries: [
          { name: 'cleanup.policy', value: 'compact' },
          { name: 'min.cleanable.dirty.ratio', value: '0.001' },
          { name: 'segment.ms', value: '100' },
        ],
      },
    ],
    waitForLeaders: true,
  });
  // A segment is rolled by the timestamps of its records: the last one only is never compacted.
  let timestamp = Date.now() - 60_000;
  const write = async (keys: string, options: { idempotent?: boolean } = {}): Promise<void> => {
    timestamp += 10_000;
    const messages = keys.split('').map((key) => ({ key, value: key, timestamp: String(timestamp) }));
    await send(topic, messages, options);
  };
  await write('abcde'); // 0 to 4: a and c stay
  await write('fgh', { idempotent: true }); // 5 to 7: only the empty batch stays, for the sequence of its producer
  await write('bij'); // 8 to 10: b stays
  await write('defghij'); // 11 to 17
  await write('k'); // 18, the open segment
  const remaining = ['0', '2', '8', '11', '12', '13', '14', '15', '16', '17', '18'];
  const answers = await until(
    'the compaction',
    async () => {
      const now = await fetches(topic, { maxBytes: 1 });
      return now.flatMap(offsetsOf).length === remaining.length ? now : undefined;
    },
    60_000,
  );
  assert.deepEqual(
    answers.map((answer) => ({ offsets: offsetsOf(answer), nextOffset: answer.nextOffset })),
    [
      { offsets: ['0', '2'], nextOffset: '5' },
      { offsets: [], nextOffset: '8' },
      { offsets: ['8'], nextOffset: '11' },
      { offsets: ['11', '12', '13', '14', '15', '16', '17'], nextOffset: '18' },
      { offsets: ['18'], nextOffset: '19' },
    ],
  );
  assert.deepEqual((await fetches(topic)).flatMap(offsetsOf), remaining);
  // From within a gap: behind the last record of a batch, before its end.
  const within = await admin.fetchRecords({ topic, partition: 0, offset: '3', maxBytes: 1 });
  assert.deepEqual([within.records, within.nextOffset], [[], '5']);
});

test('an offset before the start of the log or behind its end is refused', OPTIONS, async () => {
  const topic = await newTopic(kafka, 1);
  await send(topic, numbered(5));
  await admin.fetchTopicOffsets(topic);
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '3' }] });
  for (const offset of ['2', '6']) {
    await assert.rejects(admin.fetchRecords({ topic, partition: 0, offset }), (error) => {
      assert.ok(error instanceof kafkajs.KafkaJSProtocolError);
      assert.equal(error.type, 'OFFSET_OUT_OF_RANGE');
      return true;
    });
  }
  const answer = await admin.fetchRecords({ topic, partition: 0, offset: '3' });
  assert.deepEqual([offsetsOf(answer), answer.logStartOffset], [['3', '4'], '3']);
});

test('a fetch waits for a topic that was just created', OPTIONS, async () => {
  const topics = Array.from({ length: 10 }, () => newName('new'));
  await admin.createTopics({
    topics: topics.map((topic) => ({ topic, numPartitions: 1, replicationFactor: 1 })),
    waitForLeaders: false,
  });
  await Promise.all(
    topics.map(async (topic) => {
      assert.equal((await admin.fetchRecords({ topic, partition: 0, offset: '0' })).nextOffset, '0');
    }),
  );
});

test('a fetch waits for a partition that is added while the client knows the topic', OPTIONS, async () => {
  const topic = await newTopic(kafka, 1);
  await admin.fetchRecords({ topic, partition: 0, offset: '0' });
  await withAdmin(brokerClient(), (other) => other.createPartitions({ topicPartitions: [{ topic, count: 2 }] }));
  assert.equal((await admin.fetchRecords({ topic, partition: 1, offset: '0' })).nextOffset, '0');
});

for (const how of ['closed', 'reset'] as const) {
  test(`a fetch whose answer is lost with a ${how} connection is repeated`, OPTIONS, async () => {
    let lost = 0;
    const socketFactory: ISocketFactory = ({ host, port, onConnect }) => {
      const socket = connect({ host, port }, onConnect);
      const write = socket.write.bind(socket);
      socket.write = (data: unknown): boolean => {
        const isFetch = Buffer.isBuffer(data) && data.readInt16BE(REQUEST_NUMBER_OFFSET) === FETCH_REQUEST;
        if (isFetch && lost === 0) {
          lost++;
          socket.removeAllListeners('data');
          socket.once('data', () => (how === 'closed' ? socket.end() : socket.destroy(new Error('reset'))));
        }
        return write(data as Buffer);
      };
      return socket;
    };
    const topic = await newTopic(kafka, 1);
    await send(topic, numbered(2));
    const answer = await withAdmin(brokerClient([], socketFactory), (other: Admin) =>
      other.fetchRecords({ topic, partition: 0, offset: '0' }),
    );
    assert.equal(lost, 1);
    assert.deepEqual(valuesOf([answer]), ['value 0', 'value 1']);
  });
}

test('invalid arguments are refused before any request', async () => {
  const partition = 0;
  await assert.rejects(admin.fetchRecords({ topic: '', partition, offset: '0' }), /Invalid topic/);
  await assert.rejects(admin.fetchRecords({ topic: 'topic', partition: -1, offset: '0' }), /Invalid partition/);
  await assert.rejects(admin.fetchRecords({ topic: 'topic', partition, offset: '-1' }), /Invalid offset/);
});
