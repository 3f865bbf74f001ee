import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { compressSnappy, decompress } from '../../kafka/compression.ts';
import { encodeBatch, type BatchRecord } from '../patches/record-batch.ts';
import { compressedSamples } from './compressed-samples.ts';
import { batch, changed, decode, marker, seal } from './record-sets.ts';

const runs = { numRuns: 3_000 };

/** Whatever the bytes are: records in order, from the offset that was asked for, and a position that moves on. */
function assertTotal(bytes: Buffer, fetchOffset: bigint, producers: readonly bigint[]): void {
  const abortedTransactions = producers.map((producerId) => ({ producerId, firstOffset: 0n }));
  const { records, nextOffset } = decode(bytes, { fetchOffset, abortedTransactions });
  let last = fetchOffset - 1n;
  for (const { offset, timestamp, key, value, headers, fault } of records) {
    assert.ok(offset > last && offset < nextOffset);
    assert.ok(Number.isFinite(timestamp));
    assert.ok(key === null || Buffer.isBuffer(key));
    assert.ok(value === null || Buffer.isBuffer(value));
    for (const header of Object.values(headers).flat()) assert.ok(header === null || Buffer.isBuffer(header));
    if (fault !== undefined) {
      assert.ok(fault.baseOffset === offset && fault.lastOffset >= offset && fault.lastOffset < nextOffset);
      last = fault.lastOffset;
    } else {
      last = offset;
    }
  }
  assert.ok(records.length === 0 ? nextOffset >= fetchOffset : nextOffset > fetchOffset);
}

const records: BatchRecord[] = ['key', 'other'].map((key, offsetDelta) => ({
  offsetDelta,
  timestampDelta: 5n,
  key,
  value: 'a value that is a little longer '.repeat(3),
  headers: [
    ['name', 'x'],
    ['name', null],
  ],
}));
const of = { producerId: 1n, transactional: true };
const compressors = [(plain: Buffer) => plain, gzipSync, compressSnappy];
const valid = await Promise.all([
  batch(10n, 'abc'),
  batch(13n, 'de', of),
  marker(15n, 1n, 'abort'),
  ...compressors.map((compress, codec) =>
    encodeBatch({
      firstOffset: BigInt(16 + 2 * codec),
      firstTimestamp: 1_000n,
      records,
      codec,
      compress: (plain) => Promise.resolve(compress(plain)),
    }),
  ),
]);

const change = fc.record({
  batch: fc.nat({ max: valid.length - 1 }),
  at: fc.nat(),
  to: fc.nat({ max: 255 }),
});
const isSealed = fc.boolean();
const cut = fc.option(fc.nat({ max: 60 }));

test('no change to valid batches makes decoding throw or go back, with the checksum made right or not', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 4 }), isSealed, cut, (changes, sealed, end) => {
      const batches = valid.map((bytes) => Buffer.from(bytes));
      for (const { batch: which, at, to } of changes) {
        const bytes = batches[which]!;
        bytes.writeUInt8(to, at % bytes.length);
        if (sealed) seal(bytes);
      }
      const all = Buffer.concat(batches);
      assertTotal(end === null ? all : all.subarray(0, all.length - end), 11n, [1n]);
    }),
    runs,
  );
});

test('no bytes at all make decoding throw or go back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.bigInt({ min: 0n, max: 2n ** 62n }), (bytes, from) => {
      assertTotal(Buffer.from(bytes), from, []);
    }),
    runs,
  );
});

test('no bytes at all as the records of an intact batch make decoding throw', async () => {
  const empty = await batch(0n, '', { records: [], lastOffsetDelta: 9, count: 3 });
  const first = fc.constantFrom(0, 1, 2, 3, 4);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), first, (bytes, codec) => {
      const whole = Buffer.concat([empty, bytes]);
      whole.writeInt32BE(whole.length - 12, 8);
      whole.writeInt16BE(codec, 21);
      assertTotal(seal(whole), 0n, []);
    }),
    runs,
  );
});

for (const { name, codec, bytes } of compressedSamples) {
  test(`no change to ${name} makes its decoder throw or go on for ever`, () => {
    const edit = fc.record({ at: fc.nat(), to: fc.nat({ max: 255 }) });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), cut, (edits, end) => {
        const broken = changed(bytes, (copy) => {
          for (const { at, to } of edits) copy.writeUInt8(to, at % copy.length);
        });
        const result = decompress(codec, end === null ? broken : broken.subarray(0, -end));
        assert.ok(Buffer.isBuffer(result) || ['CORRUPT_BATCH', 'BATCH_TOO_LARGE'].includes(result.code));
      }),
      { numRuns: 2_000 },
    );
  });
}
