import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hashKey, rawRecord, testRecord } from '../../ingress/raw-record.ts';
import { keyPartition } from '../../kafka/client.ts';
import { recordBytes } from '../../kafka/append-batch.ts';

const where = { topic: 'raw.oura', partitions: 12 };
const facts = { receivedAtMs: 1_781_073_668_004, headers: {}, keptHeaders: [] };

function texts(headers: Readonly<Record<string, Buffer>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.toString('latin1')]));
}

test("keys are partitioned as Kafka's Java clients partition them", () => {
  // Kafka's own test vectors of murmur2 (UtilsTest.testMurmur2).
  for (const [key, hash] of [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ] as const) {
    for (const partitions of [1, 4, 12, 1000]) {
      assert.equal(keyPartition(Buffer.from(key), partitions), (hash & 0x7fffffff) % partitions, key);
    }
  }
});

test('the hash key is the beginning of the SHA-256 of the body', () => {
  assert.equal(hashKey(Buffer.from('abc')).toString(), 'sha256:ba7816bf8f01cfea414140de5dae2223');
});

test('a record is stamped with the time it was received, in both places', () => {
  const record = rawRecord(where, Buffer.from('user'), Buffer.from('{}'), facts);
  assert.equal(record.timestampMs, facts.receivedAtMs);
  assert.equal(texts(record.headers)['received_at'], '1781073668004');
});

test('only named headers are kept, and credentials never are', () => {
  const headers = {
    authorization: 'Bearer a',
    'x-kept': 'one',
    'x-other': 'two',
    'automation-id': '7',
    'automation-name': 'ä',
  };
  const kept = { ...facts, headers, keptHeaders: ['x-kept', 'authorization', 'automation-*', 'absent'] };
  const { traceparent, ...rest } = texts(rawRecord(where, Buffer.from('u'), Buffer.from('{}'), kept).headers);
  assert.ok(traceparent);
  assert.deepEqual(rest, {
    received_at: '1781073668004',
    scheme: 'none',
    'x-kept': 'one',
    'automation-id': '7',
    'automation-name': 'ä',
  });
});

test('a valid trace is continued, and an invalid one is replaced', () => {
  const of = (traceparent: string): string =>
    texts(
      rawRecord(where, Buffer.from('u'), Buffer.from('{}'), { ...facts, headers: { traceparent } }).headers,
    )['traceparent'] ?? '';
  const valid = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  assert.equal(of(valid), valid);
  for (const invalid of [
    '',
    'x',
    valid.toUpperCase(),
    `00-${'0'.repeat(32)}-b7ad6b7169203331-01`,
    `${valid}-extra`,
  ]) {
    assert.notEqual(of(invalid), invalid);
    assert.match(of(invalid), /^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/);
  }
});

test('the estimate of a size counts key, value and headers', () => {
  const record = testRecord({ topic: 'raw.test', partition: 1 }, Buffer.alloc(1000), facts);
  assert.equal(record.key, null);
  assert.ok(recordBytes(record) > 1000 + 'traceparent'.length + 55 && recordBytes(record) < 1300);
});
