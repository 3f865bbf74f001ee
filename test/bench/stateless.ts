/**
 * The part of the bridge's topology that needs no state, which is what the peer does: normalize, triggers, route, with
 * the same serdes and headers. Without versions there is no hash of the content in an event's id.
 */
import type { Priority } from '../../schemas/biometric-event.ts';
import { toEvent } from '../../topology/events.ts';
import { buildId, eventHeaders } from '../../topology/headers.ts';
import { eventSerde } from '../../topology/instance.ts';
import { normalize } from '../../topology/normalize.ts';
import { rawPayload } from '../../topology/raw-payload.ts';
import { receivedAtOf } from '../../schemas/raw-record.ts';
import {
  drop,
  KafkaStreams,
  serdes,
  StreamsBuilder,
  type Serde,
  type Topology,
} from '../../streams/index.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { noMetrics } from '../../streams/metrics.ts';
import { analyze, defaultRules } from '../../topology/triggers.ts';
import { silentLog } from '../streams/log.ts';
import { monotonicMs } from './machine.ts';
import { topicNames, type TopicNames } from '../../schemas/topics.ts';

/** What the process needs. */
export interface StatelessSettings {
  readonly brokers: string;
  readonly prefix: string;
  readonly applicationId: string;
  readonly instanceId: string;
  readonly schemaIds: Readonly<Record<Priority, number>>;
  /** How many records the process is to commit before it ends; without it, it ends when it is told to. */
  readonly expect?: number;
}

/** How far a stream thread is. */
export interface Progress {
  /** In committed transactions. */
  records: number;
  /** When the first record was processed (monotonicMs), and what the process had taken by then. */
  first: { readonly atMs: number; readonly cpuMicroseconds: number } | null;
}

/** @param onFirst - called when the first record comes, and never again. */
export function statelessTopology(
  topics: TopicNames<VendorName>,
  schemaIds: StatelessSettings['schemaIds'],
  onFirst: () => void = () => undefined,
): Topology {
  const byTopic = new Map(vendorNames.map((device) => [topics.raw[device], device]));
  const builder = new StreamsBuilder();
  builder
    .stream('raw', Object.values(topics.raw), { key: serdes.utf8, value: telling(rawPayload, onFirst) })
    .flatMapValues('normalize', normalize(topics))
    .mapValues('event', (reading, record) => {
      const device = byTopic.get(record.topic);
      if (device === undefined || 'points' in reading) return drop('needs_state');
      const receivedAt = receivedAtOf(record);
      const revision = reading.revision ?? receivedAt;
      return toEvent(
        reading,
        {
          vendor: device,
          receivedAt,
          appendedAt: receivedAt,
          revision,
          content: '',
          supersedes: null,
          generation: 0,
        },
        record,
      );
    })
    .mapValues('triggers', analyze(defaultRules))
    .to('route', (_, event) => topics.priority[event.priority], {
      value: eventSerde(schemaIds),
      headers: eventHeaders(buildId({ version: 'bench', rules: defaultRules, schemaId: schemaIds.HIGH })),
      topics: Object.values(topics.priority),
    });
  return builder.build();
}

/** It runs as one stream thread. */
export function statelessStreams(settings: StatelessSettings): { streams: KafkaStreams; progress: Progress } {
  const topics = topicNames(settings.prefix, vendorNames);
  const progress: Progress = { records: 0, first: null };
  const topology = statelessTopology(topics, settings.schemaIds, () => {
    const { user, system } = process.cpuUsage();
    progress.first = { atMs: monotonicMs(), cpuMicroseconds: user + system };
  });
  const streams = new KafkaStreams(topology, {
    // Compressed as ours is by default, and as the peer's.
    connection: { brokers: settings.brokers.split(','), compression: 'snappy' },
    applicationId: settings.applicationId,
    instanceId: settings.instanceId,
    deadLetterTopic: topics.deadLetters,
    log: { ...silentLog, warn: complain, error: complain },
    metrics: { ...noMetrics, onCommit: ({ records }) => (progress.records += records) },
  });
  return { streams, progress };
}

/** The same serde, which costs nothing more once the first record was told of. */
function telling<T>(serde: Serde<T>, onFirst: () => void): Serde<T> {
  const told = {
    serialize: serde.serialize,
    deserialize(bytes: Buffer | null): T {
      told.deserialize = serde.deserialize;
      onFirst();
      return serde.deserialize(bytes);
    },
  };
  return told;
}

function complain(fields: object, message: string): void {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
}
