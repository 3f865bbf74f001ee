import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeInSlices } from '../../kafka/record-batch.ts';
import { encodeBatch } from '../patches/record-batch.ts';
import { batch, decode, marker, summary } from './record-sets.ts';

test('a record has its topic, partition, offset, timestamp, key, value and headers', async () => {
  const { records, nextOffset } = decode(
    await encodeBatch({
      firstOffset: 7n,
      firstTimestamp: 1_700_000_000_000n,
      records: [
        {
          offsetDelta: 0,
          timestampDelta: 5n,
          key: 'key',
          value: 'value',
          headers: [
            ['many', 'x'],
            ['one', 'y'],
            ['many', null],
          ],
        },
        { offsetDelta: 1, timestampDelta: -2n, key: null, value: null },
      ],
    }),
  );
  const [first, second] = records;
  assert.deepEqual(
    [first!.topic, first!.partition, first!.offset, first!.timestamp, first!.key, first!.value],
    ['topic', 3, 7n, 1_700_000_000_005, Buffer.from('key'), Buffer.from('value')],
  );
  assert.deepEqual(first!.headers, { many: [Buffer.from('x'), null], one: Buffer.from('y') });
  assert.deepEqual(
    [second!.offset, second!.timestamp, second!.key, second!.value],
    [8n, 1_699_999_999_998, null, null],
  );
  assert.deepEqual(second!.headers, {});
  assert.equal(nextOffset, 9n);
});

// Names that repeat at their places and elsewhere, that are prefixes of each other, and that every object has
const name = fc.oneof(
  fc.constantFrom(
    'source',
    'sourc',
    'source2',
    'é',
    '',
    'constructor',
    'toString',
    '__proto__',
    '5',
    'n'.repeat(64),
  ),
  fc.string({ unit: 'binary', maxLength: 70 }),
);
const bytes = fc.option(fc.uint8Array({ maxLength: 70 }).map((array) => Buffer.from(array)));
const headers = fc.array(fc.tuple(name, bytes), { maxLength: 5 });

test('every record has its own key, value and headers, those of one name in the order of the record', async () => {
  const record = fc.record({
    key: bytes,
    value: bytes,
    headers,
    timestampDelta: fc.bigInt({ min: 0n, max: 3n }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 8 }), async (some) => {
      const encoded = some.map((one, offsetDelta) => ({ ...one, offsetDelta }));
      const { records } = decode(await encodeBatch({ firstTimestamp: 9n, records: encoded }));
      assert.deepEqual(
        records.map((one) => [
          one.offset,
          one.timestamp,
          one.key,
          one.value,
          new Map(Object.entries(one.headers)),
        ]),
        encoded.map((one) => [
          BigInt(one.offsetDelta),
          9 + Number(one.timestampDelta),
          one.key,
          one.value,
          byName(one.headers),
        ]),
      );
    }),
    { numRuns: 1_000 },
  );
});

function byName(all: readonly (readonly [string, Buffer | null])[]): Map<string, unknown> {
  const values = new Map<string, (Buffer | null)[]>();
  for (const [key, value] of all) values.set(key, [...(values.get(key) ?? []), value]);
  return new Map([...values].map(([key, several]) => [key, several.length === 1 ? several[0] : several]));
}

test('every timestamp is exact, however far from the first of its batch', async () => {
  const distances = [
    0,
    1,
    -1,
    63,
    -65,
    2 ** 27 - 1,
    2 ** 27,
    -(2 ** 27) - 1,
    2 ** 31,
    -(2 ** 31),
    2 ** 34,
    -(2 ** 40),
  ];
  for (const base of [0n, 1_700_000_000_000n]) {
    const { records } = decode(
      await encodeBatch({
        firstTimestamp: base,
        records: distances.map((distance, offsetDelta) => ({
          timestampDelta: BigInt(distance),
          offsetDelta,
        })),
      }),
    );
    assert.deepEqual(
      records.map(({ timestamp }) => timestamp),
      distances.map((distance) => Number(base) + distance),
    );
  }
});

test('every offset is exact, however large', async () => {
  for (const base of [0n, 2n ** 31n - 1n, 2n ** 53n - 1n, 2n ** 53n + 1n, 2n ** 62n]) {
    const { records, nextOffset } = decode(await batch(base, 'abc'), { fetchOffset: base });
    assert.deepEqual(
      records.map(({ offset }) => offset),
      [base, base + 1n, base + 2n],
    );
    assert.equal(nextOffset, base + 3n);
  }
});

test('records before the offset that was asked for are left out', async () => {
  assert.deepEqual(summary(decode(await batch(10n, 'abcde'), { fetchOffset: 13n })), {
    records: ['13 d', '14 e'],
    nextOffset: 15n,
  });
});

test('every record has the timestamp of the broker when the topic says so', async () => {
  const { records } = decode(await batch(0n, 'ab', { attributes: 8, maxTimestamp: 5_000n }));
  assert.deepEqual(
    records.map(({ timestamp }) => timestamp),
    [5_000, 5_000],
  );
});

test('reading goes on behind batches that compaction emptied or shortened', async () => {
  const shortened = await batch(0n, 'ab', { lastOffsetDelta: 4 });
  const emptied = await batch(5n, '', { lastOffsetDelta: 2, codec: 1, records: [] });
  assert.deepEqual(summary(decode([shortened, emptied])), { records: ['0 a', '1 b'], nextOffset: 8n });
});

test('a batch that is cut at the end of an answer contributes nothing', async () => {
  const whole = Buffer.concat([await batch(0n, 'abc'), await batch(3n, 'd')]);
  const first = (await batch(0n, 'abc')).length;
  for (let end = first; end < whole.length; end++) {
    assert.deepEqual(summary(decode(whole.subarray(0, end))), {
      records: ['0 a', '1 b', '2 c'],
      nextOffset: 3n,
    });
  }
});

test('an answer without a batch has nothing, and the offset stays', () => {
  assert.deepEqual(summary(decode(Buffer.alloc(0), { fetchOffset: 9n })), { records: [], nextOffset: 9n });
});

test('a batch of 200,000 records is decoded', async () => {
  const records = Array.from({ length: 200_000 }, (_, offsetDelta) => ({ timestampDelta: 0n, offsetDelta }));
  const decoded = decode(await encodeBatch({ firstTimestamp: 0n, records }));
  assert.deepEqual([decoded.records.length, decoded.nextOffset], [200_000, 200_000n]);
});

test('aborted records and markers are skipped, and committed ones of the same producer are not', async () => {
  const answer = [
    await batch(10n, 'a', { producerId: 2n, transactional: true }),
    await batch(11n, 'b', { producerId: 1n, transactional: true }),
    await batch(12n, 'c', { producerId: 3n, transactional: true }),
    await marker(13n, 1n, 'abort'),
    await batch(14n, 'd', { producerId: 1n, transactional: true }),
    await marker(15n, 2n, 'abort'),
    await batch(16n, 'e', { producerId: 2n, transactional: true }),
    await marker(17n, 2n, 'commit'),
    await batch(18n, 'f', { producerId: 2n }),
  ];
  // Both began before the offset that was asked for; not in order, which nothing promises.
  const abortedTransactions = [
    { producerId: 2n, firstOffset: 5n },
    { producerId: 1n, firstOffset: 3n },
  ];
  assert.deepEqual(summary(decode(answer, { fetchOffset: 10n, abortedTransactions })), {
    records: ['12 c', '14 d', '16 e', '18 f'],
    nextOffset: 19n,
  });
  assert.equal(decode(answer, { fetchOffset: 10n }).records.length, 6);
});

test('an aborted record whose key looks like an abort marker ends nothing', async () => {
  const key = Buffer.alloc(4);
  const records = [{ offsetDelta: 0, timestampDelta: 0n, key, value: 'a' }];
  const of = { producerId: 1n, transactional: true };
  const answer = [
    await batch(10n, '', { ...of, records }),
    await batch(11n, 'b', of),
    await marker(12n, 1n, 'abort'),
  ];
  const abortedTransactions = [{ producerId: 1n, firstOffset: 10n }];
  assert.deepEqual(summary(decode(answer, { abortedTransactions })), { records: [], nextOffset: 13n });
});

test('case 5: a large batch is decoded in slices, between which others may be decoded, their headers too', async () => {
  const large = await batch(0n, 'x'.repeat(10_000));
  const small = await encodeBatch({
    firstOffset: 0n,
    firstTimestamp: 0n,
    records: [{ offsetDelta: 0, timestampDelta: 0n, value: 'y', headers: [['name', 'z']] }],
  });
  const set = { topic: 'topic', partition: 3, fetchOffset: 0n, abortedTransactions: [] };
  const slices = decodeInSlices({ ...set, bytes: large });
  let count = 0;
  for (;;) {
    const { done, value } = slices.next();
    if (done === true) {
      assert.deepEqual(summary(value), summary(decode(large)));
      break;
    }
    count += 1;
    assert.deepEqual(decode(small).records[0]?.headers, { name: Buffer.from('z') });
  }
  assert.ok(count >= 5, `${count} slices`);
});

test('case 5: so are many batches of one answer, one after the other', async () => {
  const bytes = Buffer.concat(await Promise.all(range(20).map((at) => batch(BigInt(at), 'x'))));
  const set = { topic: 'topic', partition: 3, fetchOffset: 0n, abortedTransactions: [] };
  const slices = decodeInSlices({ ...set, bytes });
  assert.equal(range(20).filter(() => slices.next().done === true).length, 0);
  assert.equal(slices.next().done, true);
});

const range = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
