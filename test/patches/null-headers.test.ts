import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { IHeaders } from 'kafkajs';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { readCommitted } from '../kafka/read.ts';
import { bootstrapServers, brokerClient, newTopic } from './broker.ts';
import { encodeProduce } from './kafkajs-internals.ts';
import { encodeProduceRequest, type Bytes } from './record-batch.ts';

const NOW = 1_763_942_400_000;

/** Headers as an object, and as they stand in the record. */
const CASES: readonly (readonly [IHeaders, readonly (readonly [string, Bytes])[]])[] = [
  [{ source: null }, [['source', null]]],
  [{ source: [null] }, [['source', null]]],
  [
    { source: [null, 'x', null, Buffer.alloc(0)], '': null },
    [
      ['source', null],
      ['source', 'x'],
      ['source', null],
      ['source', ''],
      ['', null],
    ],
  ],
];

test('a header that is null is written with the length -1', async () => {
  for (const [headers, written] of CASES) {
    const message = { key: null, value: 'v', headers, timestamp: NOW };
    const request = await encodeProduce({
      acks: -1,
      timeout: 30_000,
      compression: 0,
      transactionalId: null,
      producerId: '7',
      producerEpoch: 1,
      topicData: [{ topic: 'raw', partitions: [{ partition: 0, messages: [message], firstSequence: 5 }] }],
    });
    const record = { offsetDelta: 0, timestampDelta: 0n, key: null, value: 'v', headers: written };
    const batch = { firstTimestamp: BigInt(NOW), producerId: 7n, producerEpoch: 1, firstSequence: 5 };
    const expected = await encodeProduceRequest({
      version: 7,
      correlationId: 42,
      clientId: 'patch-test',
      transactionalId: null,
      acks: -1,
      timeoutMs: 30_000,
      topics: [{ topic: 'raw', partitions: [{ partition: 0, batch: { ...batch, records: [record] } }] }],
    });
    assert.deepEqual(request, expected);
  }
});

test('what a broker took with headers that are null comes back with them', { timeout: 60_000 }, async (t) => {
  const kafka = brokerClient();
  const topic = await newTopic(kafka, 1);
  const producer = kafka.producer();
  t.after(() => producer.disconnect());
  await producer.connect();
  await producer.send({ topic, messages: CASES.map(([headers]) => ({ value: 'v', headers })) });
  const read = await readCommitted({ brokers: bootstrapServers() }, [topic]);
  assert.deepEqual(read.map(headersOf), [
    { source: null },
    { source: null },
    { source: [null, 'x', null, ''], '': null },
  ]);
});

function headersOf({ headers }: LogRecord): object {
  const text = (value: unknown): unknown => (Buffer.isBuffer(value) ? value.toString() : value);
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.map(text) : text(value)]),
  );
}
