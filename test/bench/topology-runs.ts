/** One run of a topology over preloaded raw topics, to the last commit; checked, so that no run counts that lost anything. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Priority } from '../../schemas/biometric-event.ts';
import { lookupSchemaId, subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import type { Bench } from './bench.ts';
import { countCommitted } from './committed.ts';
import { committedRecords } from './committed-offsets.ts';
import { deleteTopicsWith, outputTopics, renewOutputs, type Deployment } from './deployment.ts';
import { cpuSeconds, peakMiB } from './machine.ts';
import { failure, lastJson, numberOf, type Started } from './processes.ts';

/** What a run came to; with several instances, in all of them together. */
export interface TopologyRun {
  readonly records: number;
  /** From the first record to the last commit. */
  readonly seconds: number;
  /** Whole processes, from their start to the last commit. */
  readonly cpuSeconds: number;
  /** The same without their start. */
  readonly cpuSecondsSinceFirst: number;
  readonly peakMiB: number;
  readonly brokerCpuSeconds: number | undefined;
  /** Committed records by topic, without the prefix. */
  readonly outputs: Readonly<Record<string, number>>;
}

/** The stateless topology in one process, which measures itself as the peer does. */
export async function runStateless(bench: Bench, deployment: Deployment): Promise<TopologyRun> {
  const applicationId = await freshApplication(bench, deployment);
  const { records, prefix } = deployment;
  const brokerCpu = bench.brokerCpuMeter();
  const settings = await statelessSettings(bench, deployment, applicationId);
  const program = bench.program('stateless', { ...settings, expect: records });
  const told = lastJson(await bench.processes.run('stateless', program));
  const run = ofJson(told, deployment, brokerCpu());
  return { ...run, outputs: await verified(bench, deployment, prefix, outputTopics(deployment.names)) };
}

/** Kafka Streams over the same records; undefined without the peer. */
export function peerTopology(bench: Bench, deployment: Deployment): (() => Promise<TopologyRun>) | undefined {
  if (bench.peers.directory === undefined) return undefined;
  return async () => {
    const { records, prefix, partitions } = deployment;
    const outPrefix = `${prefix}peer-${randomUUID().slice(0, 8)}`;
    const launch = bench.peers.kafkaStreams('Streams', {
      brokers: bench.brokers,
      'raw-prefix': `${prefix}raw.`,
      'out-prefix': outPrefix,
      'out-partitions': partitions,
      expect: records,
      threads: 1,
    });
    if (launch === undefined) throw new Error('the peer is gone');
    const brokerCpu = bench.brokerCpuMeter();
    const told = lastJson(await bench.processes.run('kafka-streams', launch));
    const run = ofJson(
      { ...told, seconds: told['seconds_from_first_record_to_last_commit'] },
      deployment,
      brokerCpu(),
    );
    const topics = ['high', 'medium', 'normal', 'dlq'].map((name) => `${outPrefix}.${name}`);
    const outputs = await verified(bench, deployment, `${outPrefix}.`, topics);
    await deleteTopicsWith(bench, outPrefix);
    return { ...run, outputs };
  };
}

/**
 * `bridge topology`, with all stores, or `instances` of it, measured from outside: from the first task that is ready,
 * a fetch before its first record, to the moment when the committed offsets cover all.
 */
export async function runStores(bench: Bench, deployment: Deployment, instances = 1): Promise<TopologyRun> {
  const applicationId = await freshApplication(bench, deployment);
  const env = {
    ...deployment.env,
    APPLICATION_ID: applicationId,
    ADMIN_PORT: '0',
  };
  const run = await fromOutside(bench, deployment, {
    groupId: `${deployment.prefix}${applicationId}`,
    start: (at) =>
      bench.processes.start('topology', bench.bridge('topology', { ...env, INSTANCE_ID: `i${at}` })),
    instances,
  });
  await deleteTopicsWith(bench, `${deployment.prefix}${applicationId}-`);
  return run;
}

/** Instances of the stateless topology, measured from outside as `bridge topology` is. */
export async function runStatelessInstances(
  bench: Bench,
  deployment: Deployment,
  instances: number,
): Promise<TopologyRun> {
  const applicationId = await freshApplication(bench, deployment);
  const settings = await statelessSettings(bench, deployment, applicationId);
  return fromOutside(bench, deployment, {
    groupId: settings.applicationId,
    start: (at) =>
      bench.processes.start('stateless', bench.program('stateless', { ...settings, instanceId: `i${at}` })),
    instances,
  });
}

async function fromOutside(
  bench: Bench,
  deployment: Deployment,
  run: { groupId: string; start: (at: number) => Started; instances: number },
): Promise<TopologyRun> {
  const { records, names, prefix } = deployment;
  const brokerCpu = bench.brokerCpuMeter();
  const started = Array.from({ length: run.instances }, (_, at) => run.start(at));
  const first: { atMs: number | undefined; cpu: Map<Started, number> } = { atMs: undefined, cpu: new Map() };
  for (const one of started) {
    one.onLine((line) => {
      if (!line.includes('"task restored"') || first.cpu.has(one)) return;
      first.cpu.set(one, cpuSeconds(one.pid));
      const { time } = JSON.parse(line) as { time: string };
      first.atMs = Math.min(first.atMs ?? Infinity, Date.parse(time));
    });
  }
  await untilCommitted(bench, deployment, run.groupId, started);
  const endedAtMs = Date.now();
  const cpu = started.map(({ pid }) => cpuSeconds(pid));
  const memory = started.map(({ pid }) => peakMiB(pid));
  const brokerCpuSeconds = brokerCpu();
  for (const code of await Promise.all(started.map((one) => one.stop())))
    if (code !== 0) throw new Error(`an instance ended with ${code} after the run`);
  for (const one of started.filter((each) => !first.cpu.has(each))) readOwnStart(one, first);
  if (first.atMs === undefined) throw new Error('no instance told when it began');
  return {
    records,
    seconds: (endedAtMs - first.atMs) / 1_000,
    cpuSeconds: sum(cpu),
    cpuSecondsSinceFirst: sum(cpu) - sum([...first.cpu.values()]),
    peakMiB: sum(memory),
    brokerCpuSeconds,
    outputs: await verified(bench, deployment, prefix, outputTopics(names)),
  };
}

/** The stateless program keeps its start to itself until its end. */
function readOwnStart(one: Started, first: { atMs: number | undefined; cpu: Map<Started, number> }): void {
  const told = lastJson(one.lines);
  first.cpu.set(one, numberOf(told, 'cpu_seconds_before_first_record'));
  first.atMs = Math.min(first.atMs ?? Infinity, numberOf(told, 'first_record_at'));
}

/**
 * Resolves once the committed offsets of a group cover all records. Looks seldom while much is left, and closely at the end: asking costs the broker something, too.
 * @throws Error when a process ends, or nothing is committed for a minute.
 */
export async function untilCommitted(
  bench: Bench,
  { records, names }: Pick<Deployment, 'records' | 'names'>,
  groupId: string,
  started: readonly Started[],
): Promise<void> {
  let ended: string | undefined;
  for (const one of started) void one.ended.then((code) => (ended ??= failure(one, code)));
  const begun = performance.now();
  for (let last = { records: 0, at: begun }; ;) {
    bench.signal.throwIfAborted();
    if (ended !== undefined) throw new Error(ended);
    const committed = await committedRecords(bench.admin, groupId, names).catch(() => 0);
    const now = performance.now();
    if (committed >= records) return;
    if (committed > last.records) last = { records: committed, at: now };
    else if (now - last.at > 60_000)
      throw new Error(`${groupId} stands at ${committed} of ${records} records for a minute`);
    const leftMs = committed === 0 ? 250 : ((now - begun) / committed) * (records - committed);
    await sleep(Math.min(250, Math.max(5, leftMs / 2)));
  }
}

/** Fresh outputs, and a group that nobody knows. */
async function freshApplication(bench: Bench, deployment: Deployment): Promise<string> {
  const applicationId = `bench-${randomUUID().slice(0, 8)}`;
  await renewOutputs(bench, deployment, applicationId);
  return applicationId;
}

async function statelessSettings(bench: Bench, { prefix, names }: Deployment, applicationId: string) {
  const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: bench.registryUrl });
  const idOf = (priority: Priority): Promise<number> =>
    lookupSchemaId(registry, subjectOf(names.priority[priority]));
  const [HIGH, MEDIUM, NORMAL] = await Promise.all([idOf('HIGH'), idOf('MEDIUM'), idOf('NORMAL')]);
  return {
    prefix,
    applicationId: `${prefix}${applicationId}`,
    instanceId: 'i0',
    schemaIds: { HIGH, MEDIUM, NORMAL },
  };
}

function ofJson(
  told: Readonly<Record<string, unknown>>,
  { records }: Deployment,
  brokerCpuSeconds: number | undefined,
): Omit<TopologyRun, 'outputs'> {
  return {
    records,
    seconds: numberOf(told, 'seconds'),
    cpuSeconds: numberOf(told, 'cpu_seconds'),
    cpuSecondsSinceFirst: numberOf(told, 'cpu_seconds_since_first_record'),
    peakMiB: numberOf(told, 'rss_peak_mb'),
    brokerCpuSeconds,
  };
}

/** @throws Error when what came out is not just what went in. */
async function verified(
  bench: Bench,
  { records, malformed }: Deployment,
  prefix: string,
  topics: readonly string[],
): Promise<Record<string, number>> {
  const counts = await countCommitted({ brokers: bench.brokers.split(',') }, topics);
  const deadLetters = sum(
    Object.keys(counts)
      .filter((t) => t.endsWith('dlq'))
      .map((t) => counts[t] ?? 0),
  );
  const all = sum(Object.values(counts));
  if (all !== records || deadLetters !== malformed)
    throw new Error(
      `${records} records with ${malformed} malformed led to ${all} outputs with ${deadLetters} dead letters: ` +
        `this run does not count (${JSON.stringify(counts)})`,
    );
  return Object.fromEntries(
    Object.entries(counts).map(([name, count]) => [name.slice(prefix.length), count]),
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0);
}
