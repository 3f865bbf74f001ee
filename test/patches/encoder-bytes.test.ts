import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import fc from 'fast-check';
import kafkajs, { type Message } from 'kafkajs';
import '../../kafka/client.ts'; // registers the snappy codec
import { encodeProduce, kafkajsCrc32c, murmur2, type Produce } from './kafkajs-internals.ts';
import { crc32c, encodeProduceRequest, type BatchRecord, type Bytes } from './record-batch.ts';

const NOW = 1_763_942_400_000;
const { None, GZIP, Snappy } = kafkajs.CompressionTypes;

/** The sizes around which a length takes a byte more, or a string is written in another way. */
const SIZES = [0, 1, 21, 22, 63, 64, 511, 512];
const LARGE_SIZES = [8191, 8192, 20_000];
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom(...SIZES).map((length) => 'x'.repeat(length)),
  fc.constantFrom(...SIZES).map((length) => 'é'.repeat(length)),
  fc.constantFrom('', '\u0000', '\ud800', 'a\udc00b', '💓'.repeat(11), 'heart rate €'),
);
const buffer = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  fc.constantFrom(...SIZES).map((size) => Buffer.alloc(size, 7)),
);
const large = fc.constantFrom(...LARGE_SIZES);
const bytes = fc.oneof(
  { weight: 25, arbitrary: text },
  { weight: 25, arbitrary: buffer },
  { weight: 1, arbitrary: large.map((size) => 'x'.repeat(size)) },
  { weight: 1, arbitrary: large.map((size) => Buffer.alloc(size, 7)) },
);
const headers = fc.dictionary(
  text,
  fc.oneof({ weight: 4, arbitrary: bytes }, { weight: 1, arbitrary: fc.array(bytes, { maxLength: 3 }) }),
  { maxKeys: 4 },
);
const milliseconds = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: NOW - 1_000, max: NOW + 1_000 }) },
  fc.integer({ min: NOW - 2 ** 33, max: NOW + 2 ** 33 }),
  fc.constantFrom(NOW - 2 ** 31, NOW + 2 ** 31 - 1, NOW + 2 ** 31, 1, 999_999_999_999, 2 ** 51),
  // The years 2286, 2401 and 9999: texts are in the order of time only while they have 13 digits.
  fc.constantFrom(9_999_999_999_999, 10_000_000_000_000, 13_601_088_000_000, 253_402_300_799_999),
);
const timestamp = fc.oneof(milliseconds.map(String), milliseconds, fc.constantFrom('0', 0));
const message: fc.Arbitrary<Message> = fc.record(
  { key: fc.oneof(bytes, fc.constant(null)), value: fc.oneof(bytes, fc.constant(null)), headers, timestamp },
  { requiredKeys: ['value'] },
);
const messages = fc.array(message, { minLength: 1, maxLength: 6 });
const partitionData = fc.record({
  partition: fc.nat(),
  messages: fc.oneof(
    { weight: 20, arbitrary: messages },
    // From the 64th record on its place takes a byte more
    { weight: 1, arbitrary: message.map((one) => new Array<Message>(66).fill(one)) },
  ),
  firstSequence: fc.oneof(fc.nat(), fc.constant(2 ** 31 - 1)),
});
const produce: fc.Arbitrary<Produce> = fc.record({
  acks: fc.constantFrom(-1, 0, 1),
  timeout: fc.nat(),
  compression: fc.constantFrom(None, None, GZIP, Snappy),
  transactionalId: fc.oneof(fc.constant(null), fc.string({ unit: 'binary', maxLength: 20 })),
  producerId: fc.oneof(fc.constant('-1'), fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }).map(String)),
  producerEpoch: fc.integer({ min: 0, max: 32_767 }),
  topicData: fc.array(
    fc.record({ topic: text, partitions: fc.array(partitionData, { minLength: 1, maxLength: 3 }) }),
    { minLength: 1, maxLength: 2 },
  ),
});

test('a produce request has the bytes that the protocol prescribes, whatever its records', async (t) => {
  stopClock(t);
  await fc.assert(
    fc.asyncProperty(produce, async (request) => {
      assert.deepEqual(await encodeProduce(request), await expected(request));
    }),
    { numRuns: 1_500 },
  );
});

test('so has a request of 20,000 records', async (t) => {
  stopClock(t);
  const record = { key: 'user', value: Buffer.alloc(200, 1), headers: { source: 'oura', id: Buffer.alloc(16) } };
  const partitions = [0, 1].map((partition) => ({
    partition,
    messages: new Array<Message>(10_000).fill(record),
    firstSequence: 5,
  }));
  const request = { ...plainProduce, topicData: [{ topic: 'raw', partitions }] };
  assert.ok((await encodeProduce(request)).equals(await expected(request)));
});

for (const [what, wrong] of Object.entries<object>({
  'a number as value': { value: 5 },
  'an object as value': { value: { heartRate: 61 } },
  'a boolean as key': { key: true, value: 'a' },
  'a header that is undefined': { value: 'a', headers: { source: undefined } },
  'a number as header': { value: 'a', headers: { source: [1] } },
  'null for headers': { value: 'a', headers: null },
})) {
  test(`${what} rejects with a TypeError`, async () => {
    const partitions = [{ partition: 0, messages: [wrong as Message], firstSequence: 0 }];
    const request = { ...plainProduce, topicData: [{ topic: 'raw', partitions }] };
    await assert.rejects(encodeProduce(request), (error: unknown) => error instanceof TypeError);
  });
}

test('the checksum is CRC-32C', () => {
  // RFC 3720, B.4
  const ascending = Buffer.from(Array.from({ length: 32 }, (_, i) => i));
  const vectors: readonly (readonly [Buffer, number])[] = [
    [Buffer.alloc(0), 0],
    [Buffer.from('123456789'), 0xe3069283],
    [Buffer.alloc(32), 0x8a9136aa],
    [Buffer.alloc(32, 0xff), 0x62a8ab43],
    [ascending, 0x46dd794e],
    [Buffer.from(ascending).reverse(), 0x113fdb5c],
  ];
  for (const [data, checksum] of vectors) {
    assert.deepEqual([kafkajsCrc32c(data), crc32c(data)], [checksum, checksum]);
  }
  const noise = randomBytes(600);
  for (let from = 0; from < 40; from++) {
    for (let to = from; to < noise.length; to += 7) {
      const part = noise.subarray(from, to);
      assert.equal(kafkajsCrc32c(part), crc32c(part), `${from} to ${to} of ${noise.toString('hex')}`);
    }
  }
});

test('the hash of a key is that of the Java clients', () => {
  // Kafka's own UtilsTest
  const vectors: Record<string, number> = {
    '21': -973932308,
    foobar: -790332482,
    'a-little-bit-long-string': -985981536,
    'a-little-bit-longer-string': -1486304829,
    lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
    abc: 479470107,
  };
  for (const [key, hash] of Object.entries(vectors)) {
    assert.deepEqual([murmur2(key), murmur2(Buffer.from(key))], [hash, hash], key);
  }
});

const plainProduce: Omit<Produce, 'topicData'> = {
  acks: -1,
  timeout: 30_000,
  compression: None,
  transactionalId: null,
  producerId: '7',
  producerEpoch: 1,
};

function stopClock(t: TestContext): void {
  t.mock.method(Date, 'now', () => NOW);
}

function expected(request: Produce): Promise<Buffer> {
  const { compression, transactionalId, producerId, producerEpoch } = request;
  const codecs = kafkajs.CompressionCodecs as unknown as Record<
    number,
    () => { compress(encoder: { buffer: Buffer }): Promise<Buffer> }
  >;
  const codec = codecs[compression];
  return encodeProduceRequest({
    version: 7,
    correlationId: 42,
    clientId: 'patch-test',
    transactionalId,
    acks: request.acks,
    timeoutMs: request.timeout,
    topics: request.topicData.map(({ topic, partitions }) => ({
      topic,
      partitions: partitions.map(({ partition, firstSequence, messages: sent }) => ({
        partition,
        batch: {
          ...timedRecords(sent),
          codec: compression,
          ...(codec === undefined ? {} : { compress: (buffer: Buffer) => codec().compress({ buffer }) }),
          transactional: transactionalId !== null && transactionalId !== '',
          producerId: BigInt(producerId),
          producerEpoch,
          firstSequence,
        },
      })),
    })),
  });
}

/** Without a timestamp it is now. */
function timedRecords(sent: readonly Message[]): {
  firstTimestamp: bigint;
  maxTimestamp: bigint;
  records: BatchRecord[];
} {
  const given = sent.flatMap((message) => message.timestamp ?? []).map(Number);
  const [first, last] = given.length === 0 ? [NOW, NOW] : [Math.min(...given), Math.max(...given)];
  const records = sent.map(
    (message, offsetDelta): BatchRecord => ({
      offsetDelta,
      timestampDelta: BigInt(message.timestamp ?? NOW) - BigInt(first),
      key: message.key ?? null,
      value: message.value,
      headers: Object.entries(message.headers ?? {}).flatMap(([name, value]) =>
        [value].flat().map((one) => [name, one as Bytes] as const),
      ),
    }),
  );
  return { firstTimestamp: BigInt(first), maxTimestamp: BigInt(last), records };
}
