import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFetchedBatches } from './kafkajs-internals.ts';
import { encodeBatch, type BatchRecord } from './record-batch.ts';

/** The distances at which the decoder goes over from one way of counting to another. */
const DISTANCES = [0, 1, -1, 63, -65, 2 ** 27 - 1, 2 ** 27, -(2 ** 27) - 1, 2 ** 31, -(2 ** 40)];
const BASES = [0n, 1_700_000_000_000n, 2n ** 53n - 1n, 2n ** 53n + 1n, 2n ** 62n];

test('every timestamp is exact, however large and however far from the first of its batch', async () => {
  for (const base of BASES) {
    const { messages } = await decodeFetchedBatches(
      await encodeBatch({
        firstOffset: 7n,
        firstTimestamp: base,
        records: DISTANCES.map((distance, offsetDelta) => ({ timestampDelta: BigInt(distance), offsetDelta })),
      }),
    );
    assert.deepEqual(
      messages.map(({ timestamp }) => timestamp),
      DISTANCES.map((distance) => String(base + BigInt(distance))),
    );
  }
});

test('every offset is exact, however large', async () => {
  for (const base of BASES) {
    const records = [0, 1, 2].map((offsetDelta) => ({ timestampDelta: 0n, offsetDelta }));
    const answer = await decodeFetchedBatches(
      await encodeBatch({ firstOffset: base, firstTimestamp: 0n, records }),
    );
    assert.deepEqual(
      answer.messages.map(({ offset }) => BigInt(offset)),
      [base, base + 1n, base + 2n],
    );
    assert.equal(BigInt(answer.nextOffset ?? -1), base + 3n);
  }
});

test('a batch that came in part counts neither for the records nor for the offset to go on at', async () => {
  const batch = (firstOffset: bigint): Promise<Buffer> =>
    encodeBatch({
      firstOffset,
      firstTimestamp: 0n,
      records: [{ timestampDelta: 0n, offsetDelta: 0 }],
      lastOffsetDelta: 4,
    });
  const whole = Buffer.concat([await batch(0n), await batch(5n)]);
  const { messages, nextOffset } = await decodeFetchedBatches(whole.subarray(0, -1));
  assert.deepEqual([messages.map(({ offset }) => offset), nextOffset], [['0'], '5']);
});

test('a batch of 200,000 records is decoded', async () => {
  const records = new Array<BatchRecord>(200_000).fill({ timestampDelta: 0n, offsetDelta: 0 });
  const { messages, nextOffset } = await decodeFetchedBatches(
    await encodeBatch({ firstOffset: 0n, firstTimestamp: 0n, records }),
  );
  assert.deepEqual([messages.length, nextOffset], [200_000, '200000']);
});

test('an answer without a batch tells no offset to go on at', async () => {
  assert.deepEqual(await decodeFetchedBatches(Buffer.alloc(0)), { messages: [], nextOffset: null });
});
