import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeFetchedBatches, encodeBatches } from './kafkajs-internals.ts';

/** The distances at which the decoder goes over from one way of counting to another. */
const DISTANCES = [0, 1, -1, 63, -65, 2 ** 27 - 1, 2 ** 27, -(2 ** 27) - 1, 2 ** 31, -(2 ** 40)];
const BASES = [0n, 1_700_000_000_000n, 2n ** 53n - 1n, 2n ** 53n + 1n, 2n ** 62n];

test('every timestamp is exact, however large and however far from the first of its batch', async () => {
  for (const base of BASES) {
    const { messages } = await decodeFetchedBatches(
      await encodeBatches([
        {
          firstOffset: '7',
          firstTimestamp: String(base),
          records: DISTANCES.map((timestampDelta, offsetDelta) => ({ timestampDelta, offsetDelta })),
        },
      ]),
    );
    assert.deepEqual(
      messages.map(({ timestamp }) => timestamp),
      DISTANCES.map((distance) => String(base + BigInt(distance))),
    );
  }
});

test('every offset is exact, however large', async () => {
  for (const base of BASES) {
    const records = [0, 1, 2].map((offsetDelta) => ({ timestampDelta: 0, offsetDelta }));
    const answer = await decodeFetchedBatches(
      await encodeBatches([{ firstOffset: String(base), firstTimestamp: '0', records }]),
    );
    assert.deepEqual(
      answer.messages.map(({ offset }) => BigInt(offset)),
      [base, base + 1n, base + 2n],
    );
    assert.equal(BigInt(answer.nextOffset ?? -1), base + 3n);
  }
});

test('a batch that came in part counts neither for the records nor for the offset to go on at', async () => {
  const batch = (firstOffset: string) => ({
    firstOffset,
    firstTimestamp: '0',
    records: [{ timestampDelta: 0, offsetDelta: 0 }],
    lastOffsetDelta: 4,
  });
  const whole = await encodeBatches([batch('0'), batch('5')]);
  const { messages, nextOffset } = await decodeFetchedBatches(whole.subarray(0, -1));
  assert.deepEqual([messages.map(({ offset }) => offset), nextOffset], [['0'], '5']);
});

test('a batch of 200,000 records is decoded', async () => {
  const records = new Array<{ timestampDelta: number; offsetDelta: number }>(200_000);
  const { messages, nextOffset } = await decodeFetchedBatches(
    await encodeBatches([
      { firstOffset: '0', firstTimestamp: '0', records: records.fill({ timestampDelta: 0, offsetDelta: 0 }) },
    ]),
  );
  assert.deepEqual([messages.length, nextOffset], [200_000, '200000']);
});

test('an answer without a batch tells no offset to go on at', async () => {
  assert.deepEqual(await decodeFetchedBatches(Buffer.alloc(0)), { messages: [], nextOffset: null });
});
