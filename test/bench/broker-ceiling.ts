/** How fast the broker takes records at all: Kafka's own tool, with nothing behind it. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { fetchSoftware } from '../../local/maven.ts';
import { projectRoot } from '../../process/root.ts';
import { createTopics } from '../../kafka/topics.ts';
import type { Bench } from './bench.ts';
import { countAppended } from './committed.ts';
import { deleteTopicsWith } from './deployment.ts';

const topic = 'bench-ceiling';

/** Records a second of Kafka's ProducerPerformance with acks=all; undefined where the stack is an existing one. */
export async function brokerCeiling(
  bench: Bench,
  what: { records: number; recordBytes: number; partitions: number },
): Promise<{ perSecond: number; brokerCpuSeconds: number | undefined } | undefined> {
  if (bench.stack.kind !== 'embedded') return undefined;
  const progress = (line: string): void => bench.progress(line);
  const { java, classpath } = await fetchSoftware({ env: process.env, onProgress: progress });
  const tools = await toolsJar(classpath);
  const { records, recordBytes, partitions } = what;
  await createTopics(bench.admin, [{ name: topic, config: {} }], { partitions, replicationFactor: 1 });
  const brokerCpu = bench.brokerCpuMeter();
  const properties = ['acks=all', 'batch.size=131072', 'linger.ms=5', 'buffer.memory=134217728'];
  const lines = await bench.processes.run('producer-performance', {
    command: java,
    args: [
      ...['-cp', `${tools}${delimiter}${classpath}`, 'org.apache.kafka.tools.ProducerPerformance'],
      ...['--bootstrap-server', bench.brokers, '--topic', topic, '--throughput', '-1'],
      ...['--num-records', String(records), '--record-size', String(recordBytes)],
      ...properties.flatMap((property) => ['--command-property', property]),
    ],
  });
  const brokerCpuSeconds = brokerCpu();
  const appended = await countAppended(bench.admin, [topic]);
  if (appended !== records) throw new Error(`${records} records were sent, and ${appended} are in the topic`);
  await deleteTopicsWith(bench, topic);
  const told = lines.findLast((line) => line.startsWith(`${records} records sent`));
  const perSecond = Number(/, ([\d.]+) records\/sec/.exec(told ?? '')?.[1]);
  if (!(perSecond > 0)) throw new Error('ProducerPerformance told no rate');
  return { perSecond, brokerCpuSeconds };
}

/** The tools are no part of a broker's class path: Maven fetches that one file more, once. */
async function toolsJar(classpath: string): Promise<string> {
  const version = /kafka-clients-([\d.]+)\.jar/.exec(classpath)?.[1];
  if (version === undefined) throw new Error('the class path of the stack names no kafka-clients');
  const folder = join(projectRoot(), '.local', 'bench-peers', 'tools');
  const jar = join(folder, `kafka-tools-${version}.jar`);
  if (existsSync(jar)) return jar;
  mkdirSync(folder, { recursive: true });
  const artifact = `-Dartifact=org.apache.kafka:kafka-tools:${version}`;
  await promisify(execFile)('mvn', ['-q', '-B', 'dependency:copy', artifact, `-DoutputDirectory=${folder}`]);
  return jar;
}
