import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headerText, rawHeader } from '../../schemas/raw-record.ts';
import { errorHeader } from '../../streams/errors.ts';
import type { Headers } from '../../streams/index.ts';
import { keyPartition } from '../../kafka/client.ts';
import { Application } from '../faults/application.ts';
import type { Appended } from '../streams/broker/cluster.ts';

const errorNames = new Set<string>(Object.values(errorHeader));
const bytes = (text: string): Buffer => Buffer.from(text, 'utf8');

/** What is legal in Kafka as headers of a record. */
const poison: readonly Headers[] = [
  { source: null },
  { source: [null, bytes('x')] },
  { source: [bytes('x'), null] },
  { received_at: null },
  { received_at: [null, bytes('1')], scheme: null, secret: [null, null] },
  { '': bytes('x') },
  { '': null },
  { [errorHeader.exception]: null, [errorHeader.stacktrace]: [null, bytes('x')] },
  Object.fromEntries([['__proto__', null]]),
];
/** The ends of the timestamps that a raw topic may take. */
const timestamps = [0, -1, -2, Number.MAX_SAFE_INTEGER, '9223372036854775807'];

test(
  'case 3: null header values in a dead-lettered record, as received_at, and under one name stopped the topology',
  { timeout: 120_000 },
  async (t) => {
    const application = await Application.create(t);
    const { cluster, names, partitions } = application;
    await application.configure(names.raw.whoop, {
      'message.timestamp.after.max.ms': '9223372036854775807',
      // What is as old as these would be deleted while the test reads it.
      'retention.ms': '-1',
    });
    await application.configure(names.deadLetters, { 'retention.ms': '-1' });
    const reading = (user: string): Appended => ({
      topic: names.raw.oura,
      key: bytes(user),
      partition: keyPartition(bytes(user), partitions),
      value: bytes(
        JSON.stringify({ user_id: user, timestamp: new Date().toISOString(), hrv_data: { rmssd: 60 } }),
      ),
      headers: { [rawHeader.scheme]: bytes('plain'), [rawHeader.receivedAt]: bytes(String(Date.now())) },
    });
    const worker = application.worker('i0');
    const users = Array.from({ length: 40 }, (_, at) => `user-${at}`);
    // In every partition: ordinary webhooks, then poison that must become an event or a dead letter, then others.
    await cluster.append(users.slice(0, 20).map(reading));
    for (const [at, headers] of poison.entries()) {
      await cluster.append([
        { ...reading(`poison-${at}`), headers },
        { ...reading(`poison-${at}`), headers, value: bytes('{"cut off') },
      ]);
    }
    // Each in a batch of its own: a client computes the distances within one as floating-point numbers.
    for (const [at, timestamp] of timestamps.entries()) {
      const { key, partition = 0 } = reading(`time-${at}`);
      const value = bytes('{"cut off');
      await cluster.append([
        { topic: names.raw.whoop, key: key ?? null, partition, value, timestamp: timestamp as number },
      ]);
    }
    await cluster.append(users.slice(20).map(reading));
    await worker.running();
    await application.passed(await application.ends(), 30_000);

    const events = await cluster.read(Object.values(names.priority));
    assert.deepEqual(
      events.map(({ key }) => String(key)).sort(),
      [...users, ...poison.map((_, at) => `poison-${at}`)].sort(),
    );
    const letters = await cluster.read([names.deadLetters]);
    for (const [at, headers] of poison.entries()) {
      const [letter, ...more] = letters.filter(({ key }) => String(key) === `poison-${at}`);
      assert.ok(letter !== undefined && more.length === 0);
      assert.equal(headerText(letter.headers, errorHeader.exception), 'NOT_JSON');
      assert.deepEqual(ownHeaders(letter.headers), ownHeaders(headers));
    }
    assert.deepEqual(
      timestamps.map((_, at) => letters.find(({ key }) => String(key) === `time-${at}`)?.timestamp),
      [0, -1, -2, 2 ** 52, 2 ** 52],
    );
    assert.equal(letters.length, poison.length + timestamps.length);
    assert.ok(worker.isAlive);
    assert.ok(!worker.log.includes('recovering'), 'nothing had to be repeated');
    await worker.stop();
  },
);

/** All but those that say why it is a dead letter, which replace others of their names. */
function ownHeaders(headers: Headers): object {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !errorNames.has(name)));
}
