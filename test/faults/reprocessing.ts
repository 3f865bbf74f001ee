/** A deployment that goes through generations: candidates, promotions, and what readers have in the end. */
import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { createTopics } from '../../kafka/topics.ts';
import { readConfig } from '../../process/config.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, schemaIdOf } from '../../schemas/codec.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { compareVersions } from '../../schemas/version-order.ts';
import type { InputRecord } from '../../streams/index.ts';
import { Generations, generationsVariables } from '../../replay/generations.ts';
import { isSettled, promote, type PromoteOptions } from '../../replay/promote.ts';
import { readStatus } from '../../replay/status.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { silentLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';
import { Application, registryUrl, type ApplicationOptions } from './application.ts';
import { deployedTopology, recompute } from './audit-expected.ts';
import { report } from './settings.ts';
import type { WorkerSettings } from './topology-worker.ts';
import type { Traffic } from './traffic.ts';
import type { WorkerProcess } from './worker-process.ts';

type InstanceSettings = Omit<WorkerSettings, 'env'> & { env?: WorkerSettings['env'] };

/** A deployment, traffic to it, and what `bridge replay` knows of it. */
export interface Deployment {
  readonly application: Application;
  readonly generations: Generations;
  readonly traffic: Traffic;
}

/**
 * Has an instance of generation 0, `old`, process some hundred records; traffic goes on.
 * @param rate - records per second of that: as many as the machine is to bear, where a test is about it.
 */
export async function deployed(
  t: TestContext,
  settings: InstanceSettings = {},
  { rate = 100, ...options }: ApplicationOptions & { readonly rate?: number } = {},
): Promise<Deployment & { readonly old: WorkerProcess }> {
  const application = await Application.create(t, { partitions: 2, ...options });
  const generations = await openGenerations(application);
  const traffic = application.traffic({ ahead: 400, rate, everyMs: 100, users: 60 });
  const old = instance(application, 0, 'a', settings);
  await Promise.all([old.running(), application.progress(400)]);
  return { application, generations, traffic, old };
}

/** Starts a candidate, on topics of its own, and waits until it has caught up. */
export async function candidate(
  { application, generations }: Deployment,
  generation = 1,
  settings: InstanceSettings = {},
): Promise<WorkerProcess> {
  await prepare(application, generation);
  const worker = instance(application, generation, 'a', settings);
  await caughtUp(generations, worker);
  return worker;
}

/**
 * Waits for the end of all work, has every instance stop, and checks that readers have what a run without any fault would have
 * given them. Reports the figures with `more`.
 * @param before - raw records that were deleted since.
 */
export async function ended(
  t: TestContext,
  { application, generations, traffic }: Deployment,
  more: object = {},
  before: readonly InputRecord[] = [],
): Promise<Compared> {
  const { live } = await generations.control.refresh();
  await settled(generations, live);
  await traffic.stop();
  await application.cluster.drained(application.rawTopics, generations.groupOf(live), 60_000);
  await application.stop();
  const compared = compareWithFaultless(await readEvents(application), await faultless(application, before));
  report(t, { ...more, ...compared });
  return compared;
}

/** Creates the topics of a generation. */
export async function prepare(
  application: Application,
  generation: number,
  admin = application.cluster.admin,
): Promise<void> {
  await createTopics(admin, changelogSpecs(application.applicationId, generation), {
    partitions: application.partitions,
    replicationFactor: Number(application.env['TOPIC_REPLICATION_FACTOR']),
  });
}

/** Starts an instance of a generation. */
export function instance(
  application: Application,
  generation: number,
  id: string,
  settings: InstanceSettings = {},
): WorkerProcess {
  const env = { ...settings.env, GENERATION: String(generation) };
  return application.worker(`${id}-of-${generation}`, { ...settings, env });
}

/** What `bridge replay` knows of the deployment; closed with the test. */
export async function openGenerations(application: Application): Promise<Generations> {
  const generations = await Generations.open(readConfig(generationsVariables, application.env), silentLog);
  application.cluster.after(() => generations.close());
  return generations;
}

/** Waits until the next generation is seeded and about as far as the live one, under load. */
export async function caughtUp(
  generations: Generations,
  worker: WorkerProcess,
  timeoutMs = 120_000,
): Promise<void> {
  const { live } = await generations.control.refresh();
  // The whole status reads two changelogs, for which the processes under test would have to wait.
  const isCaughtUp = async (): Promise<true | undefined> => {
    const tasks = await generations.tasks(live + 1);
    return (tasks.every(({ seed }) => seed?.done) && (await generations.lag(live + 1)) < 500n) || undefined;
  };
  await until('the candidate to catch up', isCaughtUp, timeoutMs, 250).catch(async (error: unknown) => {
    const status = JSON.stringify(await readStatus(generations));
    throw new Error(`${status}\n${worker.log.slice(-3_000)}`, { cause: error });
  });
}

/** Promotes as `bridge replay promote` does by default. */
export function promoteTo(
  generations: Generations,
  generation: number,
  options: Partial<PromoteOptions> = {},
): Promise<void> {
  return promote(generations, {
    generation,
    isReadersReady: true,
    waitMs: 60_000,
    announce: true,
    removeUnreadable: false,
    onStep: () => undefined,
    signal: new AbortController().signal,
    ...options,
  });
}

/** Deletes raw records as retention does: of each partition those before `start` of what generation 0 has committed. */
export async function deleteRaw(
  application: Application,
  start: (committed: bigint) => bigint,
): Promise<void> {
  const committed = (await application.committed()) ?? new Map<string, bigint>();
  for (const topic of application.rawTopics) {
    const partitions = [...committed]
      .filter(([name]) => name.startsWith(`${topic}-`))
      .map(([name, offset]) => ({
        partition: Number(name.slice(topic.length + 1)),
        offset: String(start(offset)),
      }));
    if (partitions.length > 0) await application.cluster.admin.deleteTopicRecords({ topic, partitions });
  }
}

/** Waits until every task has taken over and corrected what it had to. */
export async function settled(
  generations: Generations,
  generation: number,
  timeoutMs = 60_000,
): Promise<void> {
  await until(
    `the corrections of generation ${generation}`,
    async () => isSettled(await generations.tasks(generation)) || undefined,
    timeoutMs,
    250,
  );
}

/** An event as a reader gets it. */
export interface Read {
  readonly event: BiometricEvent;
  readonly record: InputRecord;
}

/** Everything in the priority topics, partition by partition. */
export async function readEvents(application: Application): Promise<Read[]> {
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  const decoder = createDecoder((id) => registry.typeById(id));
  const records = await application.cluster.read(Object.values(application.names.priority));
  const events: Read[] = [];
  for (const record of records) {
    assert.ok(record.value !== null);
    await decoder.prepare(schemaIdOf(record.value));
    events.push({ record, event: decoder.decode(record.value) });
  }
  return events;
}

function resourceOf({ device_type, user_id, resource_id }: BiometricEvent): string {
  return JSON.stringify([device_type, user_id, resource_id]);
}

/** The newest version of each resource, in the order in which every reader compares. */
export function newest(events: Iterable<BiometricEvent>): Map<string, BiometricEvent> {
  const versions = new Map<string, BiometricEvent>();
  for (const event of events) {
    const before = versions.get(resourceOf(event));
    if (before === undefined || compareVersions(event, before) > 0) versions.set(resourceOf(event), event);
  }
  return versions;
}

/** Each record once, in the order of each partition. */
function byPlace(records: readonly InputRecord[]): InputRecord[] {
  const places = new Map(records.map((one) => [`${one.topic}:${one.partition}:${one.offset}`, one]));
  return [...places.values()].sort((a, b) => Number(a.offset - b.offset));
}

/**
 * What a run of the present build, which never had a fault, makes of all raw records.
 * @param before - raw records that were deleted since.
 */
export async function faultless(
  application: Application,
  before: readonly InputRecord[] = [],
): Promise<Map<string, BiometricEvent>> {
  const { names, partitions, cluster } = application;
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() });
  const raw = byPlace([...before, ...(await cluster.read(application.rawTopics))]);
  const driver = await recompute(await deployedTopology(registry, names, () => false), raw, {
    partitions,
    deadLetterTopic: names.deadLetters,
    topics: topicSpecs(names),
  });
  const decoder = createDecoder((id) => registry.typeById(id));
  const events: BiometricEvent[] = [];
  for (const topic of Object.values(names.priority))
    for (const { value } of driver.output(topic)) {
      assert.ok(value !== null);
      await decoder.prepare(schemaIdOf(value));
      events.push(decoder.decode(value));
    }
  return newest(events);
}

/** An event without what may differ between a corrected history and one that needed no correction. */
function comparable(event: BiometricEvent): BiometricEvent {
  const triggers = event.triggers.map((trigger) => ({ ...trigger, first: false }));
  return { ...event, triggers, generation: 0, supersedes: null };
}

/** The names of the fields that are not the same. */
function differing(a: BiometricEvent, b: BiometricEvent): string[] {
  const names = Object.keys(a) as (keyof BiometricEvent)[];
  return names.filter((name) => JSON.stringify(a[name]) !== JSON.stringify(b[name]));
}

export interface Compared {
  readonly resources: number;
  readonly corrections: Readonly<Record<string, number>>;
  readonly announced: number;
  readonly withdrawn: number;
}

/**
 * Checks that readers have, of every resource, what a run without the fault would have given them; that no event is there twice
 * within a generation; that no alert was announced
 * twice; and that each announced alert is raised by a newest version, or named by one that supersedes it.
 */
export function compareWithFaultless(
  read: readonly Read[],
  expected: ReadonlyMap<string, BiometricEvent>,
): Compared {
  const have = newest(read.map(({ event }) => event));
  const faults: string[] = [];
  for (const [name, event] of have) {
    const wanted = expected.get(name);
    if (wanted === undefined && event.deleted && event.generation > 0) continue;
    const fields = wanted === undefined ? ['all'] : differing(comparable(event), comparable(wanted));
    if (fields.length > 0)
      faults.push(
        `${placeOf(event)} of generation ${event.generation} is not as expected: ${fields.join(', ')}`,
      );
  }
  for (const [name, event] of expected) if (!have.has(name)) faults.push(`${placeOf(event)} is missing`);
  const seen = new Set<string>();
  for (const { event } of read) {
    const name = `${event.event_id}@${event.generation}`;
    if (seen.has(name)) faults.push(`${placeOf(event)} is there twice in generation ${event.generation}`);
    seen.add(name);
  }
  const announced = new Map<string, number>();
  const withdrawn = new Set<string>();
  for (const { event } of read) {
    for (const { alert_id, first } of event.triggers)
      if (first) announced.set(alert_id, (announced.get(alert_id) ?? 0) + 1);
    for (const alert of event.supersedes?.alert_ids ?? []) withdrawn.add(alert);
  }
  const standing = new Set([...have.values()].flatMap(({ triggers }) => triggers.map((one) => one.alert_id)));
  for (const [alert, times] of announced) {
    if (times > 1) faults.push(`an alert was announced ${times} times`);
    if (!standing.has(alert) && !withdrawn.has(alert))
      faults.push('an alert stands though its version is gone');
  }
  assert.deepEqual(faults.slice(0, 5), [], `${faults.length} faults`);
  const corrections: Record<string, number> = {};
  for (const { record } of read) {
    const kind = record.headers['correction']?.toString();
    if (kind !== undefined) corrections[kind] = (corrections[kind] ?? 0) + 1;
  }
  return { resources: have.size, corrections, announced: announced.size, withdrawn: withdrawn.size };
}

function placeOf({ raw: { topic, partition, offset } }: BiometricEvent): string {
  return `${topic}:${partition}:${offset}`;
}
