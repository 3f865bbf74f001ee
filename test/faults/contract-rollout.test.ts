/**
 * Rolls contract version 2 out while the release before, which knows version 1, is at work: on one registry, one database
 * and one set of topics.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { sinkVariables, startSink, type RunningSink } from '../../consumers/postgres/main.ts';
import { storeBatch } from '../../consumers/postgres/store.ts';
import { rowOf } from '../../consumers/postgres/upsert.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { readConfig } from '../../process/config.ts';
import type { Logger } from '../../process/log.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, schemaIdOf } from '../../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { testDatabase, type TestDatabase } from '../consumers/postgres/database.ts';
import { sinkStack, partitions, type SinkStack, type StartSink } from '../consumers/postgres/harness.ts';
import { capturedLog } from '../consumers/postgres/log.ts';
import { readCommitted } from '../kafka/read.ts';
import { anEvent } from '../schemas/events.ts';
import { until } from '../streams/until.ts';
import { Application, registerContract, registryUrl } from './application.ts';
import { placeName } from './audit-compare.ts';
import { deployedTopology, recompute } from './audit-expected.ts';
import {
  asContract1,
  contractOf,
  positionOf,
  thisContract,
  type Contract,
  type EventReader,
} from './contract-readers.ts';
import { checkOutRelease, ofRelease, releaseMissing } from './release-before.ts';
import { report } from './settings.ts';
import { stored, work } from './side-by-side.ts';
import type { WorkerProcess } from './worker-process.ts';

type ConfigModule = typeof import('../../process/config.ts');
type SinkModule = typeof import('../../consumers/postgres/main.ts');

describe('the roll-out of contract version 2', { skip: releaseMissing() }, () => {
  let release = '';
  let old: Contract;
  let startOldSink: StartSink;
  before(
    async () => {
      release = await checkOutRelease();
      old = await contractOf(release);
      const { readConfig } = await ofRelease<ConfigModule>(release, 'process/config.ts');
      const { startSink, sinkVariables } = await ofRelease<SinkModule>(release, 'consumers/postgres/main.ts');
      startOldSink = (env, log) => startSink(readConfig(sinkVariables, env), log);
    },
    { timeout: 400_000 },
  );

  test(
    'topology, sinks and readers of both versions side by side miss and double nothing, and agree on every event',
    { timeout: 300_000 },
    async (t) => {
      const application = await Application.create(t, { register: old.register });
      const { cluster, names } = application;
      const registry = { SCHEMA_REGISTRY_URL: registryUrl() };
      const database = await testDatabase({ migrated: false });
      cluster.after(() => database.drop());
      const worker = async (id: string, folder?: string): Promise<WorkerProcess> => {
        const started = application.worker(id, {}, folder);
        await started.running();
        return started;
      };
      const sinkEnv = { ...application.env, POSTGRES_URL: database.url, PG_POOL_MIN_SIZE: '1' };
      const sink = async (start: StartSink): Promise<RunningSink> => {
        const started = await start(sinkEnv, capturedLog().log);
        cluster.after(() => started.stop());
        return started;
      };
      const topics = Object.values(names.priority);
      const reader = async (contract: Contract, name: string): Promise<EventReader> => {
        const { connection, prefix } = cluster;
        const options = { connection, registry, topics, partitions: application.partitions };
        const started = await contract.reader({ ...options, groupId: `${prefix}${name}` });
        cluster.after(() => started.stop());
        return started;
      };
      const deployment = { prefix: cluster.prefix, admin: cluster.admin, names };

      // The release before alone.
      const traffic = application.traffic({ rate: 150 });
      const first = await worker('old-1', release);
      const oldReader = await reader(old, 'reader-1');
      const oldSink = await sink(startOldSink);
      await work(application, first);
      await stored(deployment, oldSink);

      // 1. Version 2 is registered: those who run go on, and another of the release before can still start.
      await registerContract(registry, cluster.prefix);
      const second = await worker('old-2', release);
      await work(application, first, second);
      await first.stop();

      // 2. Readers and sinks.
      const newReader = await reader(thisContract, 'reader-2');
      const newSink = await sink(startThisSink);
      await stored(deployment, oldSink, newSink);

      // 3. The topology: events of both versions. The older sink reads version 2, also alone.
      const young = await worker('new');
      await work(application, second, young);
      await stored(deployment, oldSink, newSink);
      await second.stop();
      await work(application, young);
      await newSink.stop();
      await stored(deployment, oldSink);
      const again = await sink(startThisSink);
      await stored(deployment, oldSink, again);
      await oldSink.stop();
      await stored(deployment, again);

      const sent = await traffic.stop();
      await application.audit({ sent }, ['missing', 'duplicates']);
      await young.stop();
      const records = await readCommitted(cluster.connection, topics);
      const events = await decoded(records);
      const own = await ofThisVersion(records);
      const versions = { version_1: records.length - own.size, version_2: own.size };
      assert.ok(versions.version_1 > 0 && versions.version_2 > 0, JSON.stringify(versions));
      await assertRead(events, oldReader, asContract1);
      await assertRead(events, newReader, (event) => event);
      const made = assertMade(events, await madeByThisBuild(application), own);
      const rows = await assertRows(database, [...events.values()]);
      report(t, { ...versions, ...made, ...rows });
    },
  );

  test(
    'sinks and readers of both versions read both, with and without alerts of the version before',
    { timeout: 300_000 },
    async (t) => {
      const stack = await sinkStack();
      const registry = { SCHEMA_REGISTRY_URL: registryUrl() };
      await old.register(registry, stack.prefix);
      const flow = await eventFlow(stack, old);
      t.after(async () => {
        await flow.stop();
        await stack.close();
      });
      const topics = Object.values(stack.names.priority);
      const connection = { brokers: (stack.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '').split(',') };
      const reader = async (contract: Contract, name: string): Promise<EventReader> => {
        const options = { connection, registry, topics, partitions };
        const started = await contract.reader({ ...options, groupId: `${stack.prefix}${name}` });
        t.after(() => started.stop());
        return started;
      };
      const [oldReader, newReader] = [await reader(old, 'reader-1'), await reader(thisContract, 'reader-2')];

      let older = await stack.sink({}, startOldSink);
      await stored(stack, older);
      const newer = await stack.sink();
      await stored(stack, older, newer);
      await older.stop();
      await stored(stack, newer);
      older = await stack.sink({}, startOldSink);
      await stored(stack, newer, older);
      await newer.stop();
      await stored(stack, older);
      await flow.stop();
      await until('everything to be committed', async () => (await stack.lag()) === 0 || undefined);

      const events = await decoded(await readCommitted(connection, topics));
      await assertRead(events, oldReader, asContract1);
      await assertRead(events, newReader, (event) => event);
      const rows = await assertRows(stack.database, [...events.values()]);
      assert.ok(rows.with_alerts > 0 && rows.without_alerts > 0, JSON.stringify(rows));
      report(t, rows);
    },
  );
});

const startThisSink: StartSink = (env: NodeJS.ProcessEnv, log: Logger) =>
  startSink(readConfig(sinkVariables, env), log);

/** The events of records, by position. */
async function decoded(records: readonly LogRecord[]): Promise<Map<string, BiometricEvent>> {
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  const decoder = createDecoder((id) => registry.typeById(id));
  const events = new Map<string, BiometricEvent>();
  for (const record of records) {
    assert.ok(record.value !== null);
    await decoder.prepare(schemaIdOf(record.value));
    events.set(positionOf(record), decoder.decode(record.value));
  }
  return events;
}

/** The positions of the records that were written under this build's version of the contract. */
async function ofThisVersion(records: readonly LogRecord[]): Promise<Set<string>> {
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  const ids = new Set<number>();
  for (const topic of new Set(records.map(({ topic }) => topic)))
    ids.add(await lookupSchemaId(registry, subjectOf(topic)));
  return new Set(records.filter(({ value }) => value !== null && ids.has(schemaIdOf(value))).map(positionOf));
}

/** A reader has read every event once, as `view` shows it. */
async function assertRead(
  events: ReadonlyMap<string, BiometricEvent>,
  reader: EventReader,
  view: (event: BiometricEvent) => object,
): Promise<void> {
  const read = await reader.all(events.size);
  assert.equal(reader.repeated, 0);
  assert.equal(read.size, events.size);
  for (const [position, event] of events) assert.deepEqual(read.get(position), view(event), position);
}

/** What the topology of this build makes of all raw records of an application. */
async function madeByThisBuild(application: Application): Promise<BiometricEvent[]> {
  const { cluster, names, partitions } = application;
  const raw: LogRecord[] = [];
  for (const topic of application.rawTopics) raw.push(...(await readCommitted(cluster.connection, [topic])));
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  const topology = await deployedTopology(registry, names, () => false);
  const specs = { partitions, deadLetterTopic: names.deadLetters, topics: topicSpecs(names) };
  const driver = await recompute(topology, raw, specs);
  const decoder = createDecoder((id) => registry.typeById(id));
  const events: BiometricEvent[] = [];
  for (const topic of Object.values(names.priority))
    for (const { value } of driver.output(topic)) {
      assert.ok(value !== null);
      await decoder.prepare(schemaIdOf(value));
      events.push(decoder.decode(value));
    }
  return events;
}

/**
 * Both versions together made the events that this build makes alone. The alerts of the version before are known where this build
 * has made that version: the release before stores none.
 * @param byThisBuild - the positions of the records that this build wrote.
 */
function assertMade(
  events: ReadonlyMap<string, BiometricEvent>,
  expected: readonly BiometricEvent[],
  byThisBuild: ReadonlySet<string>,
): { named_alerts: number } {
  const made = new Map([...events.values()].map((event) => [placeName(event.raw), event]));
  const own = new Set([...byThisBuild].map((position) => events.get(position)?.event_id));
  assert.equal(made.size, expected.length);
  let named = 0;
  for (const event of expected) {
    const at = placeName(event.raw);
    const found = made.get(at);
    assert.ok(found !== undefined, at);
    assert.deepEqual(asContract1(found), asContract1(event), at);
    assert.equal(found.generation, 0);
    const isKnown = own.has(found.event_id) && own.has(found.supersedes?.event_id);
    const alerts = isKnown ? event.supersedes?.alert_ids : found.supersedes && [];
    assert.deepEqual(found.supersedes?.alert_ids, alerts ?? undefined, at);
    named += alerts?.length ?? 0;
  }
  assert.ok(named > 0, 'no event names an alert of the version before');
  return { named_alerts: named };
}

/**
 * The rows are those that this build's sink alone makes of the events, but that the alerts of the version before may be unknown,
 * where the older sink wrote them.
 */
async function assertRows(
  database: TestDatabase,
  events: readonly BiometricEvent[],
): Promise<{ rows: number; with_alerts: number; without_alerts: number; unknown_alerts: number }> {
  const rowsOf = async ({ rows }: TestDatabase): Promise<Record<string, unknown>[]> =>
    (await rows('SELECT * FROM biometric_events ORDER BY device_type, user_id, resource_id')).map((row) => ({
      ...row,
      stored_at: null,
    }));
  const alone = await testDatabase({ migrated: true });
  try {
    const position = { topic: 't', partition: 0, offset: 0n };
    for (let at = 0; at < events.length; at += 1_000)
      await storeBatch(
        alone.pool,
        events.slice(at, at + 1_000).map((event) => rowOf(event, position)!),
        [],
      );
    const [found, expected] = [await rowsOf(database), await rowsOf(alone)];
    const known = found.map(({ supersedes_alert_ids: alerts }) => alerts as string[] | null);
    assert.deepEqual(
      found,
      expected.map((row, at) => (known[at] === null ? { ...row, supersedes_alert_ids: null } : row)),
    );
    const unknown = expected.filter((row, at) => known[at] === null && row['supersedes_alert_ids'] !== null);
    assert.ok(unknown.length > 0, 'the older sink has written nothing that supersedes');
    assert.deepEqual(await database.rows('SELECT * FROM sink_rejects'), []);
    return {
      rows: found.length,
      with_alerts: known.filter((alerts) => alerts !== null && alerts.length > 0).length,
      without_alerts: known.filter((alerts) => alerts?.length === 0).length,
      unknown_alerts: unknown.length,
    };
  } finally {
    await alone.drop();
  }
}

/** How many rounds of the flow lie between two versions of a resource. */
const roundsBetween = 10;

/**
 * A steady flow of resources to every partition of the priority topics, each of three versions that name alerts of the one
 * before or none, in topics of other priorities, encoded by both builds in turn.
 */
async function eventFlow(stack: SinkStack, old: Contract): Promise<{ stop(): Promise<void> }> {
  const registry = { SCHEMA_REGISTRY_URL: registryUrl() };
  const priorities = ['HIGH', 'MEDIUM', 'NORMAL'] as const;
  const encoders = await Promise.all(
    priorities.map(async (priority) => {
      const topic = stack.names.priority[priority];
      const [first, second] = [
        await old.encoder(registry, topic),
        await thisContract.encoder(registry, topic),
      ];
      return { topic, first: (event: BiometricEvent) => first(asContract1(event)), second };
    }),
  );
  const versionAt = (round: number, revision: number, partition: number): BiometricEvent => {
    const id = `${round}-${partition}`;
    const alertIds = [[], [`alert of ${id}`], [`alert of ${id}`, 'another']][(round + revision) % 3]!;
    return anEvent({
      resource_id: id,
      revision,
      event_id: `${id} version ${revision}`,
      supersedes:
        revision === 0
          ? null
          : { event_id: `${id} version ${revision - 1}`, priority: 'HIGH', alert_ids: alertIds },
      raw: { topic: 'raw.oura', partition, offset: round * 3 + revision },
    });
  };
  let flowing = true;
  const isFlowing = (): boolean => flowing;
  const running = (async () => {
    for (let round = 0; isFlowing(); round += 1) {
      for (const [at, { topic, first, second }] of encoders.entries()) {
        const born = round - at * roundsBetween;
        if (born < 0) continue;
        const messages = Array.from({ length: partitions }, (_, partition) => {
          const event = versionAt(born, at, partition);
          const encode = (round + partition) % 2 === 0 ? first : second;
          return { key: event.user_id, value: encode({ ...event, priority: priorities[at]! }), partition };
        });
        await stack.producer.send({ topic, messages, acks: -1 });
      }
      await sleep(20);
    }
  })();
  // A failure is reported when it is stopped.
  running.catch(() => undefined);
  return {
    stop() {
      flowing = false;
      return running;
    },
  };
}
