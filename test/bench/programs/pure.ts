/**
 * The computation alone: raw records in memory through the operators, tasks as they are and outputs as bytes, without
 * Kafka. Only the processing is counted, not how the records are made.
 */
import { biometrics } from '../../../topology/biometrics.ts';
import { eventSerde } from '../../../topology/instance.ts';
import { deadLetterAlways } from '../../../streams/errors.ts';
import type { InputRecord, OutputRecord } from '../../../streams/index.ts';
import { noMetrics } from '../../../streams/metrics.ts';
import { keyPartition } from '../../../kafka/client.ts';
import { RecordProcessor } from '../../../streams/processor.ts';
import { recordBytes } from '../../../streams/record.ts';
import { topicNames } from '../../../schemas/topics.ts';
import { defaultRules } from '../../../topology/triggers.ts';
import { rawBodies } from '../records.ts';
import { statelessTopology } from '../stateless.ts';
import { answer, settings } from './settings.ts';
import { vendorNames } from '../../../vendors/index.ts';

const { records, partitions, withStores, startMs } = settings() as {
  records: number;
  partitions: number;
  withStores: boolean;
  startMs: number;
};
/** As many as one transaction of a busy thread holds, about. */
const blockRecords = 10_000;

const topics = topicNames('', vendorNames);
const schemaIds = { HIGH: 1, MEDIUM: 1, NORMAL: 1 };
const topology = withStores
  ? biometrics({ topics, rules: defaultRules, biometricEvent: eventSerde(schemaIds), build: 'bench' })
  : statelessTopology(topics, schemaIds);
const processors = Array.from(
  { length: partitions },
  (_, partition) =>
    new RecordProcessor(topology, partition, {
      applicationId: 'bench',
      handlers: deadLetterAlways,
      deadLetterTopic: topics.deadLetters,
    }),
);
const offsets = new Map<string, bigint>();
let cpuMicroseconds = 0;
let [outputs, deadLetters, bytes, changelogRecords] = [0, 0, 0, 0];

function flush(block: readonly InputRecord[]): void {
  const before = process.cpuUsage();
  const made: OutputRecord[] = [];
  for (const record of block) processors[record.partition]?.process(record, made);
  for (const processor of processors) {
    for (const store of processor.stores) {
      // What a transaction does with them: their writes become records, and then the state.
      changelogRecords += [...store.flush()].length;
      store.foldIn();
    }
    processor.tally.report(noMetrics);
  }
  const { user, system } = process.cpuUsage(before);
  cpuMicroseconds += user + system;
  outputs += made.length;
  for (const output of made) {
    bytes += recordBytes(output);
    if (output.topic === topics.deadLetters) deadLetters += 1;
  }
}

let block: InputRecord[] = [];
for (const { device, user, body } of rawBodies({ count: records, seed: 1, startMs })) {
  const key = Buffer.from(user);
  const partition = keyPartition(key, partitions);
  const place = `${device}-${partition}`;
  const offset = offsets.get(place) ?? 0n;
  offsets.set(place, offset + 1n);
  block.push({
    topic: topics.raw[device],
    partition,
    offset,
    timestamp: startMs,
    key,
    value: body,
    headers: {},
  });
  if (block.length < blockRecords) continue;
  flush(block);
  block = [];
}
if (block.length > 0) flush(block);
answer({
  records,
  outputs,
  dead_letters: deadLetters,
  changelog_records: changelogRecords,
  cpu_seconds: cpuMicroseconds / 1e6,
  mean_bytes: bytes / outputs,
});
