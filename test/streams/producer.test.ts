import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { OutputRecord } from '../../streams/index.ts';
import { boundedSends, refusedRecords } from '../../streams/producer.ts';
import { partitionName, recordBytes } from '../../streams/record.ts';
import { TopicLimits } from '../../streams/topic-limits.ts';
import type { Admin, PartitionError } from '../../kafka/client.ts';

const mebibyte = 1024 * 1024;
// One buffer for all: what counts is lengths.
const filler = Buffer.alloc(3 * mebibyte);

function output(topic: string, partition: number, bytes: number, timestamp = 0): OutputRecord {
  return { topic, partition, timestamp, key: null, value: filler.subarray(0, bytes), headers: {} };
}

function shape(records: readonly OutputRecord[], limit = Infinity): [string, number][][] {
  return [...boundedSends(records, () => limit)].map((send) =>
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

test('a partition gets what its topic takes in one batch, and a record that may be too large is alone', () => {
  const sizes = [10, 1_000, 100, 100, 5_000, 10];
  const records = sizes.map((size) => output('a', 0, size));
  assert.deepEqual(
    shape(records, 2_000).map(([of]) => of?.[1]),
    [4, 1, 1],
  );
  assert.deepEqual(
    shape(records, 1_000).map(([of]) => of?.[1]),
    [1, 1, 2, 1, 1],
  );
  assert.equal(shape(records, 1).length, sizes.length);
});

describe('the answer of a broker', () => {
  const records = [output('a', 3, 10), output('a', 3, 20)];
  const answer = (type: string, messages: readonly OutputRecord[], indexes: readonly number[] = []) =>
    ({
      type,
      topic: 'a',
      partition: 3,
      messages,
      recordErrors: indexes.map((batchIndex) => ({ batchIndex, batchIndexErrorMessage: 'planted' })),
      errorMessage: indexes.length === 0 ? 'the reason' : 'planted',
    }) as unknown as PartitionError;

  test('names the refused records by their places in the batch', () => {
    const refused = refusedRecords(answer('INVALID_TIMESTAMP', records, [1]), new TopicLimits());
    assert.deepEqual(refused, [{ record: records[1], reason: 'INVALID_TIMESTAMP' }]);
  });

  test('is about the only record of its batch', () => {
    for (const reason of ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE', 'INVALID_RECORD']) {
      const limits = new TopicLimits();
      limits.lower('a', 10);
      const refused = refusedRecords(answer(reason, records.slice(0, 1)), limits);
      assert.deepEqual(refused, [{ record: records[0], reason }]);
    }
  });

  test('names no record that seemed to fit, which counts as large from then on', () => {
    const limits = new TopicLimits();
    const large = answer('MESSAGE_TOO_LARGE', records.slice(0, 1));
    assert.deepEqual(refusedRecords(large, limits), []);
    assert.ok(recordBytes(records[0]!) > limits.of('a'));
    assert.equal(refusedRecords(large, limits).length, 1);
  });

  test('names none of several that are too large together, and lowers what the next batch may take', () => {
    const limits = new TopicLimits();
    assert.deepEqual(refusedRecords(answer('MESSAGE_TOO_LARGE', records), limits), []);
    const bytes = records.reduce((sum, record) => sum + recordBytes(record), 0);
    assert.equal(limits.of('a'), bytes >> 1);
    assert.equal(limits.of('b'), 1_048_588);
  });

  test('whose reason lies in no record ends the process, with the text of the broker', () => {
    for (const [reason, sent] of [
      ['INVALID_RECORD', records],
      ['UNSUPPORTED_COMPRESSION_TYPE', records.slice(0, 1)],
    ] as const) {
      assert.throws(() => refusedRecords(answer(reason, sent), new TopicLimits()), {
        code: 'BATCH_REFUSED',
        message: new RegExp(`a-3 \\(${reason}\\) for a reason that lies in no record: the reason; `),
      });
    }
  });
});

describe('the limits of topics', () => {
  const admin = (configs: Readonly<Record<string, string>>) =>
    ({
      describeConfigs: () =>
        Promise.resolve({
          resources: Object.entries(configs).map(([resourceName, configValue]) => ({
            resourceName,
            configEntries: [{ configValue }, { configValue: '5000' }],
          })),
        }),
    }) as unknown as Admin;

  test('are read at the start and after a refusal, and what refusals have taught gives way to a change', async () => {
    const limits = new TopicLimits();
    await limits.read(admin({ a: '3000', b: '9000' }), ['a', 'b']);
    assert.deepEqual([limits.of('a'), limits.of('b'), limits.of('c')], [3_000, 5_000, 1_048_588]);
    await limits.read(admin({ a: '1' }), ['a', 'b']);
    assert.equal(limits.of('a'), 3_000);
    limits.lower('a', 1_000);
    limits.lower('b', 1_000);
    limits.expire();
    await limits.read(admin({ a: '3000', b: '4000' }), ['a', 'b']);
    assert.deepEqual([limits.of('a'), limits.of('b')], [1_000, 4_000]);
  });

  test('that cannot be read are the default of Kafka, and are asked for again', async () => {
    const limits = new TopicLimits();
    const refusing = { describeConfigs: () => Promise.reject(new Error('no')) } as unknown as Admin;
    await limits.read(refusing, ['a']);
    assert.equal(limits.of('a'), 1_048_588);
    await limits.read(admin({ a: '3000' }), ['a']);
    assert.equal(limits.of('a'), 3_000);
  });
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
  const [send] = boundedSends([record], () => Infinity);
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
  const limit = fc.oneof(fc.constant(Infinity), fc.nat(3 * mebibyte));
  const limitsOfTopics = fc.record({ a: limit, b: limit });
  fc.assert(
    fc.property(fc.array(record, { maxLength: 40 }), limitsOfTopics, (unnumbered, limits) => {
      const records = unnumbered.map((one, at) => ({ ...one, timestamp: at }));
      const sent = new Map<string, number[]>();
      for (const send of boundedSends(records, (topic) => limits[topic as 'a' | 'b'])) {
        const bytes = new Map<string, number[]>();
        for (const { topic, messages } of send) {
          for (const { partition = -1, timestamp } of messages) {
            const name = partitionName({ topic, partition });
            const at = Number(timestamp);
            sent.set(name, [...(sent.get(name) ?? []), at]);
            bytes.set(name, [...(bytes.get(name) ?? []), recordBytes(records[at]!)]);
          }
        }
        for (const [name, sizes] of bytes) {
          const most = Math.min(mebibyte, limits[name.slice(0, 1) as 'a' | 'b']);
          assert.ok(sizes.length === 1 || sizes.reduce((sum, size) => sum + size, 0) <= most);
        }
        assert.equal(new Set(send.map(({ topic }) => topic)).size, send.length);
      }
      const expected = new Map<string, number[]>();
      for (const { topic, partition, timestamp } of records) {
        const name = partitionName({ topic, partition });
        expected.set(name, [...(expected.get(name) ?? []), timestamp]);
      }
      assert.deepEqual(sent, expected);
    }),
  );
});
