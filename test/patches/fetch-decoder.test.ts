import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
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

// Names that repeat at their places and elsewhere, that are prefixes of each other, and that every object has
const name = fc.oneof(
  fc.constantFrom('source', 'sourc', 'source2', 'é', '', 'constructor', 'toString', '__proto__', '5', 'n'.repeat(64)),
  fc.string({ unit: 'binary', maxLength: 70 }),
);
const bytes = fc.option(fc.uint8Array({ maxLength: 70 }).map((array) => Buffer.from(array)));
const headers = fc.array(fc.tuple(name, bytes), { maxLength: 5 });

test('every record has its own key, value and headers, those of one name in the order of the record', async () => {
  const record = fc.record({ key: bytes, value: bytes, headers, timestampDelta: fc.bigInt({ min: 0n, max: 3n }) });
  await fc.assert(
    fc.asyncProperty(fc.array(record, { minLength: 1, maxLength: 8 }), async (some) => {
      const records = some.map((one, offsetDelta) => ({ ...one, offsetDelta }));
      const { messages } = await decodeFetchedBatches(await encodeBatch({ firstTimestamp: 9n, records }));
      assert.deepEqual(
        messages.map((message) => [
          message.offset,
          message.timestamp,
          message.key,
          message.value,
          new Map(Object.entries(message.headers)),
        ]),
        records.map((one) => [
          String(one.offsetDelta),
          String(9n + one.timestampDelta),
          one.key,
          one.value,
          byName(one.headers),
        ]),
      );
    }),
    { numRuns: 1_000 },
  );
});

test('an incomplete batch contributes neither records nor an offset to continue at', async () => {
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

test('an answer without a batch has no offset to continue at', async () => {
  assert.deepEqual(await decodeFetchedBatches(Buffer.alloc(0)), { messages: [], nextOffset: null });
});

function byName(all: readonly (readonly [string, Buffer | null])[]): Map<string, unknown> {
  const values = new Map<string, (Buffer | null)[]>();
  for (const [key, value] of all) values.set(key, [...(values.get(key) ?? []), value]);
  return new Map([...values].map(([key, several]) => [key, several.length === 1 ? several[0] : several]));
}
