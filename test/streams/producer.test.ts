import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { OutputRecord } from '../../streams/index.ts';
import { boundedSends } from '../../streams/producer.ts';
import { partitionName, recordBytes } from '../../streams/record.ts';

const mebibyte = 1024 * 1024;
// One buffer for all: what counts is lengths.
const filler = Buffer.alloc(3 * mebibyte);

function output(topic: string, partition: number, bytes: number, timestamp = 0): OutputRecord {
  return { topic, partition, timestamp, key: null, value: filler.subarray(0, bytes), headers: {} };
}

function shape(records: readonly OutputRecord[]): [string, number][][] {
  return [...boundedSends(records)].map((send) =>
    send.map(({ topic, messages }) => [topic, messages.length]),
  );
}

test('what fits goes in one send, grouped by topic', () => {
  assert.deepEqual(shape([output('a', 0, 10), output('b', 1, 10), output('a', 2, 10)]), [
    [
      ['a', 2],
      ['b', 1],
    ],
  ]);
});

test('nothing to send is no send', () => {
  assert.deepEqual(shape([]), []);
});

test('a partition gets 1 MiB per send, another one its own', () => {
  const large = 600_000;
  assert.deepEqual(shape([output('a', 0, large), output('a', 1, large), output('b', 0, large)]), [
    [
      ['a', 2],
      ['b', 1],
    ],
  ]);
  assert.deepEqual(shape([output('a', 0, large), output('a', 0, large)]), [[['a', 1]], [['a', 1]]]);
});

test('a record larger than that stands alone in its partition', () => {
  assert.deepEqual(shape([output('a', 0, 10), output('a', 0, 2 * mebibyte), output('a', 0, 10)]), [
    [['a', 1]],
    [['a', 1]],
    [['a', 1]],
  ]);
});

test('a record is sent as it is', () => {
  const record: OutputRecord = {
    topic: 'a',
    partition: 3,
    timestamp: 1_700_000_000_123,
    key: null,
    value: Buffer.from('v'),
    headers: { one: Buffer.from('1'), two: [Buffer.from('a'), Buffer.from('b')], three: 'text' },
  };
  const [send] = boundedSends([record]);
  assert.deepEqual(
    send?.map(({ topic }) => topic),
    ['a'],
  );
  assert.equal(send[0]?.messages[0], record);
});

test('of any records, each is sent once, in the order of its partition, within the limit', () => {
  const record = fc
    .tuple(
      fc.constantFrom('a', 'b'),
      fc.nat(2),
      fc.oneof(fc.nat(1_000), fc.nat(700_000), fc.nat(2 * mebibyte)),
    )
    .map(([topic, partition, bytes]) => output(topic, partition, bytes));
  fc.assert(
    fc.property(fc.array(record, { maxLength: 40 }), (unnumbered) => {
      const records = unnumbered.map((one, at) => ({ ...one, timestamp: at }));
      const sent = new Map<string, number[]>();
      for (const send of boundedSends(records)) {
        const bytes = new Map<string, number[]>();
        for (const { topic, messages } of send) {
          for (const { partition = -1, timestamp } of messages) {
            const name = partitionName(topic, partition);
            const at = Number(timestamp);
            sent.set(name, [...(sent.get(name) ?? []), at]);
            bytes.set(name, [...(bytes.get(name) ?? []), recordBytes(records[at]!)]);
          }
        }
        for (const sizes of bytes.values())
          assert.ok(sizes.length === 1 || sizes.reduce((sum, size) => sum + size, 0) <= mebibyte);
        assert.equal(new Set(send.map(({ topic }) => topic)).size, send.length);
      }
      const expected = new Map<string, number[]>();
      for (const { topic, partition, timestamp } of records) {
        const name = partitionName(topic, partition);
        expected.set(name, [...(expected.get(name) ?? []), timestamp]);
      }
      assert.deepEqual(sent, expected);
    }),
  );
});
