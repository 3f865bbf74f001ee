/** One table of cases for the whole library, run in the test driver and on a real broker: both must say the same. */
import { TopologyTestDriver, type OutputRecord, type Topology } from '../../streams/index.ts';
import type { Appended } from './broker/cluster.ts';
import { headerText } from '../../schemas/raw-record.ts';

export interface PipelineCase {
  readonly title: string;
  /** Names without prefix. The dead-letter topic is always `dlq`. */
  readonly inputTopics: readonly string[];
  readonly outputTopics: readonly string[];
  /** Builds the topology; `name` puts the prefix before a topic. */
  readonly topology: (name: (topic: string) => string) => Topology;
  /** What is appended, in order; topics without prefix. */
  readonly inputs: readonly Appended[];
  /** What must stand in the topics, partition by partition; topics without prefix. */
  readonly expected: readonly Line[];
}

/** A record as tests compare it. */
export interface Line {
  readonly topic: string;
  readonly partition: number;
  readonly key: string | null;
  readonly value: string | null;
  readonly headers: Readonly<Record<string, string>>;
  /** Epoch milliseconds. */
  readonly timestamp: number;
}

export const partitions = 4;

export const driverPrefix = 'driver.';

/** What is appended stays below any retention, and below the hour that brokers allow a timestamp to be ahead. */
export const now = Date.now();

/** Records as lines, in the order of topics and partitions; what stands in one partition keeps its order. */
export function lines(
  records: readonly OutputRecord[],
  prefix: string,
  show: (value: Buffer, topic: string) => string = (value) => value.toString('utf8'),
): Line[] {
  return records
    .map(({ topic, partition, key, value, headers, timestamp }) => ({
      topic: topic.slice(prefix.length),
      partition,
      key: key?.toString('utf8') ?? null,
      value: value === null ? null : show(value, topic.slice(prefix.length)),
      headers: Object.fromEntries(
        Object.keys(headers)
          // Frames are other ones in every version of the program.
          .filter((name) => name !== '__streams.errors.stacktrace')
          .map((name) => [name, withoutPrefix(headerText(headers, name) ?? '', prefix)]),
      ),
      timestamp,
    }))
    .sort((a, b) => (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : a.partition - b.partition));
}

function withoutPrefix(text: string, prefix: string): string {
  return text.startsWith(prefix) ? text.slice(prefix.length) : text;
}

/** Runs a case in the test driver. */
export async function runInDriver(pipeline: PipelineCase): Promise<OutputRecord[]> {
  const prefix = driverPrefix;
  const driver = new TopologyTestDriver(
    pipeline.topology((topic) => prefix + topic),
    {
      partitions,
      nowMs: now,
      deadLetterTopic: `${prefix}dlq`,
    },
  );
  driver.append(...pipeline.inputs.map((input) => ({ ...input, topic: prefix + input.topic })));
  await driver.process();
  return [...pipeline.outputTopics, 'dlq'].flatMap((topic) => driver.output(prefix + topic));
}
