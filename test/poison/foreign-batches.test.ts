/**
 * Issue 15, cases 2 and 3: whatever Kafka's own client writes into raw and priority topics, in every codec, what stands
 * before and after it arrives within 30 s, and probes, metrics and logs tell the truth.
 */
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import type { Producer } from '../../kafka/client.ts';
import { applySettings } from '../../kafka/topic-settings.ts';
import { checkJava } from '../../local/maven.ts';
import { createEncoder, type Encode } from '../../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { secret } from '../bridge/harness.ts';
import { anEvent } from '../schemas/events.ts';
import { ForeignDeployment, type Bytes, type ForeignBatch, type ForeignRecord } from './foreign.ts';

/** In every key, value and header; nothing of it may be logged. */
const planted = 'planted-4c1e07';
const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const MiB = 1024 * 1024;
const { usable, found } = await checkJava(process.env);

/** What becomes of a record: an event and a row, nothing, or a dead letter or a reject with this code. */
type Outcome = 'event' | 'nothing' | (string & {});

interface Poison extends Pick<ForeignBatch, 'transaction'> {
  readonly name: string;
  readonly outcome: Outcome;
  /** With an event, its user is `user`. */
  readonly record: (user: string) => ForeignRecord;
  /** Default 1. */
  readonly count?: number;
}

const utf8 = (text: string): Buffer => Buffer.from(text, 'utf8');
const filled = (mebibytes: number, head = '', tail = ''): Buffer =>
  Buffer.concat([utf8(head), Buffer.alloc(mebibytes * MiB, 'x'), utf8(tail)]);
const noise = randomBytes(64 * 1024);
const names = (count: number): (readonly [string, Bytes])[] =>
  Array.from({ length: count }, (_, i) => [`${planted}-${i}`, utf8(planted)] as const);
const nulls: readonly (readonly [string, Bytes])[] = [
  ['received_at', null],
  ['scheme', null],
  [planted, null],
  [planted, utf8('x')],
  ['', null],
  ['__proto__', null],
  ['constructor', utf8(planted)],
  ['constructor', null],
];

/** A valid record of the simple format, with more in it. */
function webhook(user: string, filler = ''): Buffer {
  const hrv_data = { rmssd: 60 };
  return utf8(
    JSON.stringify({ user_id: user, timestamp: '2026-05-05T05:05:05Z', hrv_data, note: planted, filler }),
  );
}

const zeros = (mebibytes: number): Bytes => ({ bytes: Buffer.alloc(64 * 1024), times: mebibytes * 16 });

const rawPoison: readonly Poison[] = [
  { name: 'a valid record', outcome: 'event', record: (user) => ({ key: utf8(user), value: webhook(user) }) },
  { name: 'a null key', outcome: 'event', record: (user) => ({ key: null, value: webhook(user) }) },
  { name: 'a null value', outcome: 'EMPTY_BODY', record: (user) => ({ key: utf8(user), value: null }) },
  { name: 'an empty value', outcome: 'EMPTY_BODY', record: () => ({ key: utf8(''), value: utf8('') }) },
  {
    name: 'null headers',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user), headers: nulls }),
  },
  {
    name: 'null headers of garbage',
    outcome: 'NOT_JSON',
    record: () => ({ key: null, value: utf8(`{${planted}`), headers: nulls }),
  },
  {
    name: '1,000 names',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user), headers: names(1_000) }),
  },
  {
    name: '1,000 names of garbage',
    outcome: 'NOT_JSON',
    record: () => ({ key: null, value: utf8(planted), headers: names(1_000) }),
  },
  { name: 'binary garbage', outcome: 'NOT_UTF8', record: () => ({ key: noise, value: noise }), count: 20 },
  {
    name: '9 MB of garbage',
    outcome: 'NOT_UTF8',
    record: (user) => ({ key: utf8(user), value: { bytes: noise, times: 144 } }),
  },
  {
    name: '9 MB of a webhook',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user, 'y'.repeat(9 * MiB)) }),
  },
  {
    name: 'an aborted transaction',
    outcome: 'nothing',
    transaction: 'abort',
    count: 3,
    record: (user) => ({ key: utf8(user), value: webhook(user) }),
  },
  {
    name: 'a committed transaction',
    outcome: 'event',
    transaction: 'commit',
    record: (user) => ({ key: utf8(user), value: webhook(user) }),
  },
  {
    name: 'a record of 1970',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user), timestamp: 0 }),
  },
  {
    name: 'garbage of 1970',
    outcome: 'NOT_JSON',
    record: () => ({ key: null, value: utf8(planted), timestamp: 1 }),
  },
  {
    name: 'a record an hour ahead',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user), timestamp: Date.now() + 3_590_000 }),
  },
  {
    name: 'a record two hours ahead',
    outcome: 'event',
    record: (user) => ({ key: utf8(user), value: webhook(user), timestamp: Date.now() + 7_200_000 }),
  },
  {
    // Four times what the ingress takes.
    name: 'a webhook inflated to 40 MiB',
    outcome: 'TOO_MUCH_WORK',
    record: (user) => ({ key: utf8(user), value: filled(40, webhook(user).toString().slice(0, -2), '"}') }),
  },
  { name: '40 MiB of zeros', outcome: 'NOT_JSON', record: (user) => ({ key: utf8(user), value: zeros(40) }) },
  {
    name: '66 MiB of zeros',
    outcome: 'BATCH_TOO_LARGE',
    record: (user) => ({ key: utf8(user), value: zeros(66) }),
  },
  {
    name: 'an aborted 66 MiB',
    outcome: 'nothing',
    transaction: 'abort',
    record: () => ({ key: null, value: zeros(66) }),
  },
  {
    name: 'many empty records',
    outcome: 'EMPTY_BODY',
    record: () => ({ key: null, value: null }),
    count: 2_000,
  },
];

const wire = (id: number, value = utf8(planted)): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(id, 1);
  return Buffer.concat([head, value]);
};

function priorityPoison(event: (user: string) => Buffer, schemaId: number): readonly Poison[] {
  return [
    { name: 'a valid event', outcome: 'event', record: (user) => ({ key: utf8(user), value: event(user) }) },
    { name: 'a null key', outcome: 'event', record: (user) => ({ key: null, value: event(user) }) },
    { name: 'a null value', outcome: 'no_value', record: (user) => ({ key: utf8(user), value: null }) },
    { name: 'an empty value', outcome: 'too_short', record: () => ({ key: null, value: utf8('') }) },
    {
      name: 'null headers',
      outcome: 'event',
      record: (user) => ({ key: null, value: event(user), headers: nulls }),
    },
    {
      name: '1,000 names',
      outcome: 'event',
      record: (user) => ({ key: null, value: event(user), headers: names(1_000) }),
    },
    {
      name: 'garbage',
      outcome: 'not_wire_format',
      record: () => ({ key: noise, value: utf8(planted) }),
      count: 20,
    },
    {
      name: 'an unknown schema',
      outcome: 'unknown_schema',
      record: () => ({ key: null, value: wire(987_654_321) }),
    },
    { name: 'schema 0', outcome: 'unknown_schema', record: () => ({ key: null, value: wire(0) }) },
    { name: 'schema 2^31', outcome: 'unknown_schema', record: () => ({ key: null, value: wire(2 ** 31) }) },
    {
      name: 'schema 2^32 - 1',
      outcome: 'unknown_schema',
      record: () => ({ key: null, value: wire(2 ** 32 - 1) }),
    },
    {
      name: 'a cut event',
      outcome: 'corrupt',
      record: (user) => ({ key: null, value: event(user).subarray(0, 40) }),
    },
    {
      name: 'an event and more',
      outcome: 'trailing_bytes',
      record: (user) => ({ key: null, value: Buffer.concat([event(user), noise]) }),
    },
    {
      name: '9 MB of zeros',
      outcome: 'trailing_bytes',
      record: () => ({ key: null, value: Buffer.concat([wire(schemaId, Buffer.alloc(9 * MiB))]) }),
    },
    {
      name: 'an aborted transaction',
      outcome: 'nothing',
      transaction: 'abort',
      count: 3,
      record: (user) => ({ key: null, value: event(user) }),
    },
    {
      name: 'a committed transaction',
      outcome: 'event',
      transaction: 'commit',
      record: (user) => ({ key: null, value: event(user) }),
    },
    {
      name: 'an event of 1970',
      outcome: 'event',
      record: (user) => ({ key: null, value: event(user), timestamp: 0 }),
    },
    {
      name: 'an event an hour ahead',
      outcome: 'event',
      record: (user) => ({ key: null, value: event(user), timestamp: Date.now() + 3_590_000 }),
    },
    { name: '66 MiB of zeros', outcome: 'batch_too_large', record: () => ({ key: null, value: zeros(66) }) },
    {
      name: 'many tombstones',
      outcome: 'no_value',
      record: () => ({ key: null, value: null }),
      count: 2_000,
    },
  ];
}

describe('batches of the Java client', { timeout: 600_000, skip: usable ? false : found }, () => {
  let deployment: ForeignDeployment;
  /** Of all tests so far. */
  const users: string[] = [];
  const letters = new Map<string, string>();
  const rejects = new Map<string, string>();

  let producer: Producer;
  before(async () => {
    deployment = await ForeignDeployment.start(codecs.length);
    producer = deployment.bridge.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
    await producer.connect();
    // What is dated 1970 would be deleted while it is looked for.
    const { raw, priority, deadLetters } = deployment.bridge.names;
    for (const topic of [raw.oura, raw.whoop, ...Object.values(priority), deadLetters])
      await set(topic, 'retention.ms', '-1');
  });
  after(async () => {
    await producer.disconnect();
    await deployment.close();
  });

  async function set(topic: string, setting: string, wanted: string): Promise<void> {
    await applySettings(deployment.bridge.admin, [{ topic, setting, is: '', wanted }]);
  }

  /** Sends ordinary records before, between and behind the poisons, one partition, and notes what has to come of it. */
  async function send(
    place: { topic: string; partition: number; codec: string },
    poisons: readonly Poison[],
    ordinary: (user: string) => Promise<void>,
    failures: Map<string, string>,
  ): Promise<void> {
    const { topic, partition, codec } = place;
    for (const [at, { name, outcome, record, count = 1, ...how }] of poisons.entries()) {
      const id = `${planted}-${topic.split('.').at(-1)}-${codec}-${at}`;
      users.push(`${id}-before`);
      await ordinary(`${id}-before`);
      const records = Array.from({ length: count }, (_, i) => record(`${id}-${i}`));
      const answers = await deployment.java.send({ ...place, records, ...how });
      const taken = answers.filter((answer) => /^\d+$/.test(answer));
      if (taken.length < count)
        console.log(`# ${codec}: ${name}: the broker answers ${[...new Set(answers)].join(', ')}`);
      if (outcome === 'nothing') continue;
      if (outcome === 'event')
        users.push(...records.map((_, i) => `${id}-${i}`).filter((_, i) => taken.includes(answers[i]!)));
      else for (const offset of taken) failures.set(`${topic}-${partition}@${offset}`, outcome);
    }
    users.push(`${planted}-${topic}-${codec}-last`);
    await ordinary(`${planted}-${topic}-${codec}-last`);
  }

  async function check(): Promise<void> {
    await deployment.drained(30_000);
    for (const process of ['topology', 'sink'] as const) {
      for (const probe of ['readyz', 'livez'])
        assert.deepEqual(
          await deployment.page(process, probe),
          { status: 200, body: 'ok' },
          `${process} ${probe}`,
        );
      assert.equal(deployment[process].child.exitCode, null);
    }
    assert.deepEqual(await deployment.users(), [...users].sort());
    assert.deepEqual(difference(await deployment.deadLetters(), letters), []);
    const { rows } = await deployment.bridge.postgres.query<{ place: string; reason: string }>(
      `SELECT topic || '-' || partition || '@' || "offset" AS place, reason FROM sink_rejects`,
    );
    assert.deepEqual(difference(new Map(rows.map(({ place, reason }) => [place, reason])), rejects), []);
    const lags = await deployment.metric('topology', 'stream_lag_records', 'topic');
    assert.deepEqual(Object.values(lags), [0, 0, 0, 0]);
    assert.deepEqual(
      await deployment.metric('topology', 'stream_dead_lettered_records_total', 'code'),
      tally(letters),
    );
    assert.deepEqual(await deployment.metric('topology', 'stream_dropped_records_total', 'reason'), {});
    assert.deepEqual(await deployment.metric('topology', 'stream_recoveries_total', 'reason'), {});
    assert.deepEqual(await deployment.metric('sink', 'sink_skipped_records_total', 'reason'), tally(rejects));
    for (const process of ['topology', 'sink'] as const)
      assert.ok(
        !deployment[process].output().includes('planted-'),
        `the log of the ${process} quotes a record`,
      );
  }

  async function append(topic: string, partition: number, user: string, value: Buffer): Promise<void> {
    const signature = createHmac('sha256', secret).update(value).digest('hex');
    const headers = {
      received_at: String(Date.now()),
      content_type: 'application/json',
      scheme: 'plain',
      secret: '0',
      signature,
    };
    await producer.send({ topic, messages: [{ key: user, value, partition, headers }] });
  }

  for (const [partition, codec] of codecs.entries()) {
    test(`in a raw topic, compressed with ${codec}`, async () => {
      const topic = deployment.bridge.names.raw.oura;
      const ordinary = (user: string): Promise<void> => append(topic, partition, user, webhook(user));
      await send({ topic, partition, codec }, rawPoison, ordinary, letters);
      await check();
    });
  }

  test('in a raw topic that an operator has the broker compress with zstd', async () => {
    const topic = deployment.bridge.names.raw.whoop;
    await set(topic, 'compression.type', 'zstd');
    const ordinary = (user: string): Promise<void> => append(topic, 0, user, webhook(user));
    await send({ topic, partition: 0, codec: 'none' }, rawPoison, ordinary, letters);
    await check();
  });

  for (const [partition, codec] of codecs.entries()) {
    test(`in a priority topic, compressed with ${codec}`, async () => {
      const topic = deployment.bridge.names.priority.NORMAL;
      const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: process.env['SCHEMA_REGISTRY_URL'] ?? '' });
      const schemaId = await lookupSchemaId(registry, subjectOf(topic));
      const encode: Encode = createEncoder(schemaId);
      const event = (user: string): Buffer => encode(anEvent({ user_id: user, source: planted }));
      const ordinary = (user: string): Promise<void> => append(topic, partition, user, event(user));
      await send({ topic, partition, codec }, priorityPoison(event, schemaId), ordinary, rejects);
      await check();
    });
  }
});

function difference(actual: ReadonlyMap<string, string>, expected: ReadonlyMap<string, string>): string[] {
  return [...new Set([...actual.keys(), ...expected.keys()])]
    .filter((place) => actual.get(place) !== expected.get(place))
    .map((place) => `${place} is ${actual.get(place)}, not ${expected.get(place)}`);
}

function tally(failures: ReadonlyMap<string, string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const code of failures.values()) counts[code] = (counts[code] ?? 0) + 1;
  return counts;
}
