import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { maxBatchRecords } from '../../kafka/record-batch.ts';
import { encodeBatch } from '../patches/record-batch.ts';
import { batch, changed, decode, marker, seal, summary } from './record-sets.ts';

const lastByte = (bytes: Buffer): Buffer =>
  changed(bytes, (copy) => copy.writeUInt8(copy.at(-1)! ^ 1, copy.length - 1));

test('a batch with a wrong checksum is one record that holds its bytes, and reading goes on behind it', async () => {
  const broken = lastByte(await batch(3n, 'def', { maxTimestamp: 1_700_000_000_000n }));
  const { records, nextOffset } = decode([await batch(0n, 'abc'), broken, await batch(6n, 'g')]);
  assert.deepEqual(summary({ records, nextOffset }), {
    records: ['0 a', '1 b', '2 c', '3 CORRUPT_BATCH', '6 g'],
    nextOffset: 7n,
  });
  const { topic, partition, timestamp, key, value, headers, fault } = records[3]!;
  assert.deepEqual([topic, partition, timestamp, key, headers], ['topic', 3, 1_700_000_000_000, null, {}]);
  assert.deepEqual(value, broken);
  assert.deepEqual(fault, {
    code: 'CORRUPT_BATCH',
    message: 'its checksum is wrong',
    baseOffset: 3n,
    lastOffset: 5n,
  });
  assert.equal(records[0]!.fault, undefined);
});

test('each changed byte of a batch is noticed, and never moves the reader past the batch behind it', async () => {
  const [first, second] = [await batch(10n, 'abc'), await batch(13n, 'd')];
  for (let at = 0; at < first.length; at++) {
    const answer = [changed(first, (copy) => copy.writeUInt8(copy[at]! ^ 0x10, at)), second];
    const { records, nextOffset } = decode(answer, { fetchOffset: 10n });
    // Neither the first offset nor the epoch of the leader is under the checksum.
    if (at >= 8 && (at < 12 || at >= 16)) assert.ok(records[0]!.fault !== undefined, `byte ${at}`);
    assert.ok(nextOffset > 10n && nextOffset <= 14n, `byte ${at}: ${nextOffset}`);
  }
});

test('a first offset that does not fit is a fault, though no checksum covers it', async () => {
  const at = async (base: bigint): Promise<Buffer[]> => [
    await batch(0n, 'abc'),
    changed(await batch(3n, 'def'), (copy) => copy.writeBigInt64BE(base)),
    await batch(6n, 'g'),
  ];
  // Before the batch before it, into it, into the batch behind it, behind that one, and where no log ends.
  for (const base of [-3n, 0n, 2n, 4n, 100n, 2n ** 62n]) {
    const place = base === 4n ? 4 : 3;
    const expected = { records: ['0 a', '1 b', '2 c', `${place} CORRUPT_BATCH`, '6 g'], nextOffset: 7n };
    assert.deepEqual(summary(decode(await at(base))), expected, `first offset ${base}`);
  }
});

test('behind a batch with a wrong checksum and no other, two fields that agree say where to go on', async () => {
  const broken = lastByte(await batch(5n, 'abc'));
  assert.equal(decode(broken, { fetchOffset: 5n }).nextOffset, 8n);
  // One of them is what broke.
  for (const [field, value] of [
    [23, 70_000],
    [23, -5],
    [57, 4],
  ] as const) {
    const more = changed(broken, (copy) => copy.writeInt32BE(value, field));
    assert.equal(decode(more, { fetchOffset: 5n }).nextOffset, 6n);
  }
});

test('a fault within the batch that a fetch began in has the offset of the fetch', async () => {
  const { records, nextOffset } = decode(lastByte(await batch(5n, 'abcd')), { fetchOffset: 7n });
  assert.deepEqual([records.map(({ offset }) => offset), nextOffset], [[7n], 9n]);
  assert.deepEqual([records[0]!.fault!.baseOffset, records[0]!.fault!.lastOffset], [7n, 8n]);
});

test('a fault has no timestamp when its batch claims one that cannot be', async () => {
  for (const maxTimestamp of [-1n, 2n ** 60n]) {
    assert.equal(decode(lastByte(await batch(0n, 'a', { maxTimestamp }))).records[0]!.timestamp, 0);
  }
});

for (const codec of [5, 6, 7]) {
  test(`codec ${codec} is unknown, and reading goes on behind the batch`, async () => {
    assert.deepEqual(summary(decode([await batch(0n, 'abc', { codec }), await batch(3n, 'd')])), {
      records: ['0 UNKNOWN_CODEC', '3 d'],
      nextOffset: 4n,
    });
  });
}

test('broken compressed data is a fault', async () => {
  for (const codec of [1, 2, 3, 4]) {
    assert.deepEqual(summary(decode([await batch(0n, 'abc', { codec }), await batch(3n, 'd')])), {
      records: ['0 CORRUPT_BATCH', '3 d'],
      nextOffset: 4n,
    });
  }
});

// The first record of a batch of "abc" without key and headers: length, attributes, timestamp, offset, key, value (length
// and byte), headers.
const [lengthAt, offsetAt, keyAt, valueAt, headersAt] = [61, 64, 65, 66, 68];
const faults: readonly (readonly [string, (copy: Buffer) => void])[] = [
  ['fewer records than are counted', (copy) => copy.writeInt32BE(4, 57)],
  ['more records than are counted', (copy) => copy.writeInt32BE(2, 57)],
  ['a negative count', (copy) => copy.writeInt32BE(-1, 57)],
  ['a million records in a few bytes', (copy) => copy.writeInt32BE(999_999, 57)],
  ['a record of negative length', (copy) => copy.writeUInt8(1, lengthAt)],
  ['a record that runs past the batch', (copy) => copy.writeUInt8(126, lengthAt)],
  ['a record that is longer than its parts', (copy) => copy.writeUInt8(copy[lengthAt]! + 2, lengthAt)],
  ['a number that does not end', (copy) => copy.fill(255, lengthAt)],
  ['a key of negative length', (copy) => copy.writeUInt8(3, keyAt)],
  ['a key that runs past its record', (copy) => copy.writeUInt8(100, keyAt)],
  ['a value that runs past its record', (copy) => copy.writeUInt8(100, valueAt)],
  ['a negative count of headers', (copy) => copy.writeUInt8(1, headersAt)],
  ['headers that run past their record', (copy) => copy.writeUInt8(2, headersAt)],
  ['an offset twice', (copy) => copy.writeUInt8(2, offsetAt)],
  ['an offset behind the last', (copy) => copy.writeUInt8(126, offsetAt)],
  ['a negative offset', (copy) => copy.writeUInt8(1, offsetAt)],
];
for (const [what, change] of faults) {
  test(`${what}: the whole batch is a fault`, async () => {
    const broken = seal(changed(await batch(3n, 'abc'), change));
    assert.deepEqual(summary(decode([await batch(0n, 'abc'), broken, await batch(6n, 'd')])), {
      records: ['0 a', '1 b', '2 c', '3 CORRUPT_BATCH', '6 d'],
      nextOffset: 7n,
    });
  });
}

test('bytes behind the records of a batch are a fault', async () => {
  const longer = Buffer.concat([await batch(0n, 'abc'), Buffer.alloc(1)]);
  longer.writeInt32BE(longer.length - 12, 8);
  assert.deepEqual(summary(decode(seal(longer))), { records: ['0 CORRUPT_BATCH'], nextOffset: 3n });
});

test('a batch that ends before it begins is a fault', async () => {
  const broken = seal(changed(await batch(0n, 'abc'), (copy) => copy.writeInt32BE(-2, 23)));
  assert.deepEqual(summary(decode([broken, await batch(3n, 'd')])), {
    records: ['0 CORRUPT_BATCH', '3 d'],
    nextOffset: 4n,
  });
});

test('a batch of more records than the limit is too large', async () => {
  const compress = (): Promise<Buffer> => Promise.resolve(gzipSync(Buffer.alloc(7 * (maxBatchRecords + 1))));
  const large = await batch(0n, '', {
    records: [],
    codec: 1,
    compress,
    count: maxBatchRecords + 1,
    lastOffsetDelta: maxBatchRecords,
  });
  assert.deepEqual(summary(decode(large)), {
    records: ['0 BATCH_TOO_LARGE'],
    nextOffset: BigInt(maxBatchRecords) + 1n,
  });
});

test('a batch that claims 2,147,483,647 records in a few bytes is too large, whatever it holds', async () => {
  const claim = seal(changed(await batch(0n, 'abc'), (copy) => copy.writeInt32BE(2 ** 31 - 1, 57)));
  assert.deepEqual(summary(decode(claim)), { records: ['0 BATCH_TOO_LARGE'], nextOffset: 3n });
});

test('an answer with many large batches is decoded in part, and the next fetch goes on', async () => {
  const compress = (records: Buffer): Promise<Buffer> => Promise.resolve(gzipSync(records));
  const large = (firstOffset: bigint): Promise<Buffer> =>
    encodeBatch({
      firstOffset,
      firstTimestamp: 0n,
      codec: 1,
      compress,
      records: [{ offsetDelta: 0, timestampDelta: 0n, value: Buffer.alloc(40 * 1024 * 1024) }],
    });
  const { records, nextOffset } = decode([await large(0n), await large(1n), await large(2n)]);
  assert.deepEqual([records.map(({ offset }) => offset), nextOffset], [[0n, 1n], 2n]);
});

for (const magic of [0, 1, 3, -1]) {
  test(`a batch of format ${magic} is a fault`, async () => {
    const old = changed(await batch(0n, 'abc'), (copy) => copy.writeInt8(magic, 16));
    assert.deepEqual(summary(decode([old, await batch(3n, 'd')])), {
      records: ['0 UNSUPPORTED_FORMAT', '3 d'],
      nextOffset: 4n,
    });
  });
}

test('the first batch is a fault when it is cut, wherever', async () => {
  const whole = await batch(5n, 'abc');
  for (let end = 1; end < whole.length; end++) {
    const { records, nextOffset } = decode(whole.subarray(0, end), { fetchOffset: 5n });
    assert.deepEqual(
      records.map(({ offset, fault }) => [offset, fault?.code]),
      [[5n, 'CUT_BATCH']],
      `${end} bytes`,
    );
    assert.equal(nextOffset, end < 61 ? 6n : 8n);
  }
});

for (const length of [-1, 0, 48]) {
  test(`nothing behind a batch that claims ${length} bytes can be read, and the next fetch begins behind it`, async () => {
    const absurd = changed(await batch(3n, 'def'), (copy) => copy.writeInt32BE(length, 8));
    assert.deepEqual(summary(decode([await batch(0n, 'abc'), absurd, await batch(6n, 'g')])), {
      records: ['0 a', '1 b', '2 c', '3 CORRUPT_BATCH'],
      nextOffset: 6n,
    });
  });
}

test('a batch of an aborted transaction is passed over by its header, whatever is wrong with it', async () => {
  const of = { producerId: 1n, transactional: true };
  const answer = [
    await batch(0n, 'ab', { ...of, codec: 7 }),
    lastByte(await batch(2n, 'cd', of)),
    await batch(4n, 'e', { transactional: true, producerId: 2n }),
  ];
  const abortedTransactions = [{ producerId: 1n, firstOffset: 0n }];
  const { records, nextOffset } = decode(answer, { abortedTransactions });
  assert.deepEqual(
    records.filter(({ fault }) => fault !== undefined),
    [],
  );
  // Behind a broken batch, reading begins anew while a transaction is aborted: it could have been its end.
  assert.equal(nextOffset, 4n);
});

test('a broken marker hides nothing that its producer committed later', async () => {
  const of = { producerId: 1n, transactional: true };
  const answer = [
    await batch(0n, 'a', of),
    lastByte(await marker(1n, 1n, 'abort')),
    await batch(2n, 'b', of),
  ];
  const first = decode(answer, { abortedTransactions: [{ producerId: 1n, firstOffset: 0n }] });
  assert.deepEqual(summary(first), { records: ['1 CORRUPT_BATCH'], nextOffset: 2n });
  assert.deepEqual(summary(decode(answer[2]!, { fetchOffset: 2n })), { records: ['2 b'], nextOffset: 3n });
});
