import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decode } from './record-sets.ts';

// What a broker of Kafka 4.3 served of 51 records that librdkafka 2.16.0 (confluent-kafka of Python) had sent: snappy in
// one raw block, where Java writes its own framing; lz4 and zstd without a content size.
const codecs = ['gzip', 'snappy', 'lz4', 'zstd'];

const small = Array.from({ length: 50 }, (_, i) => ({
  offset: BigInt(i),
  timestamp: 1_700_000_000_000 + i,
  key: i % 10 === 0 ? null : Buffer.from(`key ${i}`),
  value: i % 7 === 0 ? null : Buffer.from(`plain ${i} `.repeat(i)),
  headers: i % 3 === 0 ? {} : { kind: Buffer.from('plain'), constructor: null },
}));
const large = {
  offset: 50n,
  timestamp: 1_700_000_000_050,
  key: Buffer.from('large'),
  value: Buffer.from(Array.from({ length: 40_000 }, (_, i) => `${i % 1_009},`).join('')),
  headers: {},
};

for (const [i, codec] of codecs.entries()) {
  test(`records that librdkafka compressed with ${codec} are read as they were written`, () => {
    const bytes = readFileSync(new URL(`../golden/librdkafka/${codec}`, import.meta.url));
    assert.equal(bytes.readInt16BE(21) & 7, i + 1, 'the codec of the first batch');
    const { records, nextOffset } = decode(bytes);
    assert.deepEqual(
      records.map(({ offset, timestamp, key, value, headers }) => ({
        offset,
        timestamp,
        key,
        value,
        headers,
      })),
      [...small, large],
    );
    assert.equal(nextOffset, 51n);
  });
}
