/** Topics and schemas of one deployment of the bridge, as `bridge topics` and `bridge schemas register` make them. */
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { createTopics, type TopicSpec } from '../../kafka/topics.ts';
import type { Bench } from './bench.ts';
import { lastJson, numberOf } from './processes.ts';
import { preloadStartMs } from './records.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';

const seed = 1;

export interface Deployment {
  readonly prefix: string;
  readonly partitions: number;
  readonly names: TopicNames<VendorName>;
  /** The environment of its processes. */
  readonly env: Readonly<Record<string, string>>;
  /** What was preloaded, and how many of it are no JSON. */
  readonly records: number;
  readonly malformed: number;
}

/** Makes a deployment whose raw topics are empty. */
export async function deploy(bench: Bench, prefix: string, partitions: number): Promise<Deployment> {
  const names = topicNames(prefix, vendorNames);
  await createTopics(bench.admin, topicSpecs(names), { partitions, replicationFactor: 1 });
  await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: bench.registryUrl }), prefix);
  const env = {
    KAFKA_BOOTSTRAP_SERVERS: bench.brokers,
    SCHEMA_REGISTRY_URL: bench.registryUrl,
    TOPIC_PREFIX: prefix,
    TOPIC_PARTITIONS: String(partitions),
    TOPIC_REPLICATION_FACTOR: '1',
  };
  return { prefix, partitions, names, env, records: 0, malformed: 0 };
}

/** A deployment whose raw topics hold `count` records; the same one when it was asked for before. */
export function preloaded(bench: Bench, partitions: number, count: number): Promise<Deployment> {
  const name = `${partitions}x${count}`;
  const loading = bench.preloaded.get(name) ?? load(bench, `bench-${name}.`, partitions, count);
  bench.preloaded.set(name, loading);
  return loading;
}

/** A deployment of its own whose raw topics hold `count` records. */
export async function load(
  bench: Bench,
  prefix: string,
  partitions: number,
  count: number,
): Promise<Deployment> {
  bench.progress(`preloading ${count.toLocaleString('en')} records into 4 x ${partitions} partitions`);
  const deployment = await deploy(bench, prefix, partitions);
  const what = { prefix, partitions, count, seed, startMs: preloadStartMs() };
  const loaded = lastJson(await bench.processes.run('load', bench.program('load', what)));
  return { ...deployment, records: count, malformed: numberOf(loaded, 'malformed') };
}

/** Deletes the topics of `specs` and makes them anew: no run reads, or counts, what another has written. */
async function renew(bench: Bench, specs: readonly TopicSpec[], partitions: number): Promise<void> {
  const names = new Set(specs.map(({ name }) => name));
  await deleteTopics(bench, (name) => names.has(name));
  await createTopics(bench.admin, specs, { partitions, replicationFactor: 1 });
}

/** Empties the outputs of a deployment, and makes the changelogs of `applicationId`. */
export async function renewOutputs(
  bench: Bench,
  { names, partitions, prefix }: Deployment,
  applicationId: string,
): Promise<void> {
  const outputs = new Set(outputTopics(names));
  const specs = topicSpecs(names).filter(({ name }) => outputs.has(name));
  await renew(bench, [...specs, ...changelogSpecs(`${prefix}${applicationId}`)], partitions);
}

/** Deletes what nobody needs any more; a run leaves gigabytes. */
export function deleteTopicsWith(bench: Bench, prefix: string): Promise<void> {
  return deleteTopics(bench, (name) => name.startsWith(prefix));
}

async function deleteTopics(bench: Bench, isMeant: (name: string) => boolean): Promise<void> {
  const topics = (await bench.admin.listTopics()).filter(isMeant);
  if (topics.length === 0) return;
  await bench.admin.deleteTopics({ topics, timeout: 30_000 });
  // The broker hears of it a moment after the controller has done it, and speaks of them until then.
  await bench.until('the deletion of topics', async () =>
    (await bench.admin.listTopics()).some(isMeant) ? undefined : true,
  );
}

/** The topics that a raw record can come out in. */
export function outputTopics(names: TopicNames<VendorName>): string[] {
  return [...Object.values(names.priority), names.deadLetters];
}
