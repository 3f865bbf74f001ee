import type { Registry } from 'prom-client';
import { countDroppedLines, type Logger } from '../process/log.ts';
import { occasionalLog } from '../process/occasional-log.ts';
import { version } from '../process/version.ts';
import type { BiometricEvent, Priority } from '../schemas/biometric-event.ts';
import { createEncoder, EncodeError } from '../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../schemas/contract.ts';
import type { SchemaRegistry } from '../schemas/registry.ts';
import { biometrics } from './biometrics.ts';
import { applicationIdOf } from './changelogs.ts';
import type { TopologyConfig } from './config.ts';
import { firstGeneration, generationId, shadowOf, type Generation } from './generation.ts';
import type { GenerationSupport } from './generation-state.ts';
import { GenerationTask } from './generation-task.ts';
import { buildId } from './headers.ts';
import { kafkaConnection } from '../process/config.ts';
import {
  KafkaStreams,
  promMetrics,
  SerdeError,
  writeOnly,
  type Serde,
  type StreamsMetrics,
  type StreamsOptions,
  type Topology,
} from '../streams/index.ts';
import { topicNames, type TopicNames } from '../schemas/topics.ts';
import type { TriggerRule } from './triggers.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';

/** What the topology needs to run. */
export interface InstanceSettings {
  readonly config: TopologyConfig;
  readonly schemaIds: Readonly<Record<Priority, number>>;
  readonly rules: readonly TriggerRule[];
  /** Delete state that has no offsets, instead of refusing to start. */
  readonly reset: boolean;
}

/**
 * The parts of a process that outlive a run of its topology: a promotion may end the run, and an abort starts it again.
 */
export interface InstanceParts {
  readonly log: Logger;
  readonly metrics: StreamsMetrics;
  readonly options?: Partial<StreamsOptions>;
  /** Called after each join: closes the instance if it must not run any more. */
  readonly onJoined?: () => Promise<void>;
  /** Of a generation above 0. */
  readonly support?: GenerationSupport;
}

/** The bridge's topology on a cluster, not started yet. */
export function biometricStreams(
  { config, schemaIds, rules, reset }: InstanceSettings,
  { log, metrics, options, onJoined, support }: InstanceParts,
): KafkaStreams {
  const topics = topicNames(config.TOPIC_PREFIX, vendorNames);
  const generation = support?.generation ?? firstGeneration;
  const topology = deployedTopology(topics, { rules, schemaIds, generation });
  const streams = new KafkaStreams(topology, {
    connection: kafkaConnection(config),
    applicationId: generationId(applicationIdOf(config), generation.number),
    instanceId: config.INSTANCE_ID,
    deadLetterTopic: topics.deadLetters,
    commitIntervalMs: config.COMMIT_INTERVAL_MS,
    stallMs: config.STALL_MS,
    reset,
    log,
    metrics,
    ...(onJoined === undefined ? {} : { onJoined, memberData: retirable }),
    ...(support === undefined
      ? {}
      : {
          punctuator: (context) => new GenerationTask(context, support),
          deadLetterTopicOf: (record) => shadowOf(generation, record),
          // Before the cut every record counts.
          mayReset: (position) => !generation.isHistory(position),
        }),
    ...options,
  });
  streams.onState((state) => log.info({ state }, 'state'));
  return streams;
}

/** Shows a promotion that this member follows the control topic and leaves by itself. */
export const retirable = { isRetirable: true } as const;

/** The metrics of a process. */
export function instanceMetrics(registry: Registry, log: Logger): StreamsMetrics {
  countDroppedLines(registry);
  return withDeadLetterLog(promMetrics(registry), log);
}

/** The topology of this build as a deployment runs it. */
export function deployedTopology(
  topics: TopicNames<VendorName>,
  options: Pick<InstanceSettings, 'rules' | 'schemaIds'> & { readonly generation?: Generation },
): Topology {
  const { schemaIds, rules, generation = firstGeneration } = options;
  const build = deployedBuild(options);
  return biometrics({ topics, rules, biometricEvent: eventSerde(schemaIds), build, generation });
}

/** What the header `build` of this build's outputs says. */
export function deployedBuild({ rules, schemaIds }: Pick<InstanceSettings, 'rules' | 'schemaIds'>): string {
  return buildId({ version: version(), rules, schemaId: schemaIds.HIGH });
}

// The metrics count dead letters; the log reports them to operators without metrics.
function withDeadLetterLog(metrics: StreamsMetrics, log: Logger): StreamsMetrics {
  const onDeadLetter = occasionalLog(log, 'dead letters');
  return {
    ...metrics,
    onDeadLettered: (node, code, count) => {
      metrics.onDeadLettered(node, code, count);
      onDeadLetter({ node, code });
    },
  };
}

/** Encodes each event under the schema id of its topic's subject. */
export function eventSerde(schemaIds: Readonly<Record<Priority, number>>): Serde<BiometricEvent> {
  const encode = {
    HIGH: createEncoder(schemaIds.HIGH),
    MEDIUM: createEncoder(schemaIds.MEDIUM),
    NORMAL: createEncoder(schemaIds.NORMAL),
  };
  return writeOnly((event) => {
    try {
      return encode[event.priority](event);
    } catch (error) {
      if (error instanceof EncodeError) throw new SerdeError('NOT_ENCODABLE', error.message);
      throw error;
    }
  });
}

/**
 * The schema ids under which the registry knows the contract of each priority topic.
 * @throws Error when it does not answer, or lacks one.
 */
export async function lookUpSchemas(
  registry: SchemaRegistry,
  topics: TopicNames,
): Promise<Record<Priority, number>> {
  const idOf = (priority: Priority): Promise<number> =>
    lookupSchemaId(registry, subjectOf(topics.priority[priority]));
  const [HIGH, MEDIUM, NORMAL] = await Promise.all([idOf('HIGH'), idOf('MEDIUM'), idOf('NORMAL')]);
  return { HIGH, MEDIUM, NORMAL };
}
