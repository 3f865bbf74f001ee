import { Registry } from 'prom-client';
import { startAdmin } from '../process/admin.ts';
import { occasionalLog } from '../process/occasional-log.ts';
import type { Logger } from '../process/log.ts';
import type { Running } from '../process/run.ts';
import { version } from '../process/version.ts';
import type { BiometricEvent, Priority } from '../schemas/biometric-event.ts';
import { createEncoder, EncodeError } from '../schemas/codec.ts';
import { lookupSchemaId, subjectOf } from '../schemas/contract.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { biometrics } from './biometrics.ts';
import { applicationIdOf, changelogSpecs } from './changelogs.ts';
import type { TopologyConfig } from './config.ts';
import { buildId } from './headers.ts';
import { kafkaConnection, kafkaClient } from './streams/kafka.ts';
import {
  KafkaStreams,
  promMetrics,
  SerdeError,
  writeOnly,
  type Serde,
  type StreamsMetrics,
  type StreamsOptions,
} from './streams/index.ts';
import { checkTopics, topicNames, type TopicNames } from './topics.ts';
import { defaultRules, readRules } from './triggers.ts';

/** A consumer that showed no life for this long is stuck: it heartbeats every second and fetches more often. */
const stuckAfterMs = 60_000;

/**
 * Starts the topology process: checks rules, schemas and topics, then joins the group.
 * @param options - what differs from the deployment's way of running: tests shorten time-outs and hook into commits.
 */
export async function startTopology(
  config: TopologyConfig,
  log: Logger,
  options: Partial<StreamsOptions> = {},
): Promise<Running & { adminPort: number }> {
  const rules = config.TRIGGER_RULES_FILE === undefined ? defaultRules : readRules(config.TRIGGER_RULES_FILE);
  const topics = topicNames(config.TOPIC_PREFIX);
  const schemaIds = await lookUpSchemas(config, topics);
  const connection = kafkaConnection(config);
  await checkLayout(config, topics, log);
  const registry = new Registry();
  const streams = new KafkaStreams(
    biometrics({
      topics,
      rules,
      biometricEvent: eventSerde(schemaIds),
      build: buildId({ version: version(), rules, schemaId: schemaIds.HIGH }),
    }),
    {
      connection,
      applicationId: applicationIdOf(config),
      instanceId: config.INSTANCE_ID,
      deadLetterTopic: topics.deadLetters,
      commitIntervalMs: config.COMMIT_INTERVAL_MS,
      log,
      metrics: telling(promMetrics(registry), log),
      ...options,
    },
  );
  streams.onState((state) => log.info({ state }, 'state'));
  const admin = await startAdmin({
    port: config.ADMIN_PORT,
    host: config.ADMIN_HOST,
    registry,
    probes: {
      live: () => {
        const silent = streams.silentForMs;
        return silent !== undefined && silent > stuckAfterMs
          ? `the consumer is silent for ${silent} ms`
          : 'ok';
      },
      ready: () => (streams.state === 'RUNNING' ? 'ok' : `state ${streams.state}`),
    },
  });
  log.info({ port: admin.port }, 'admin port');
  try {
    await streams.start();
  } catch (error) {
    await admin.close();
    throw error;
  }
  return {
    adminPort: admin.port,
    failed: streams.failed,
    stop: async () => {
      await streams.close();
      await admin.close();
    },
  };
}

// Dead letters are counted in the metrics; whoever has only the log should hear of them too.
function telling(metrics: StreamsMetrics, log: Logger): StreamsMetrics {
  const onDeadLetter = occasionalLog(log, 'dead letters');
  return {
    ...metrics,
    onDeadLettered: (node, code, count) => {
      metrics.onDeadLettered(node, code, count);
      onDeadLetter({ node, code });
    },
  };
}

async function lookUpSchemas(config: TopologyConfig, topics: TopicNames): Promise<Record<Priority, number>> {
  const registry = schemaRegistry(config);
  const idOf = (priority: Priority): Promise<number> =>
    lookupSchemaId(registry, subjectOf(topics.priority[priority]));
  const [HIGH, MEDIUM, NORMAL] = await Promise.all([idOf('HIGH'), idOf('MEDIUM'), idOf('NORMAL')]);
  return { HIGH, MEDIUM, NORMAL };
}

async function checkLayout(config: TopologyConfig, topics: TopicNames, log: Logger): Promise<void> {
  const admin = kafkaClient(kafkaConnection(config), { clientId: 'bridge-topology-check', log }).admin();
  try {
    await admin.connect();
    const all = [
      ...Object.values(topics.raw),
      ...Object.values(topics.priority),
      topics.deadLetters,
      ...changelogSpecs(applicationIdOf(config)).map(({ name }) => name),
    ];
    await checkTopics(admin, all, config.TOPIC_PARTITIONS);
  } finally {
    await admin.disconnect();
  }
}

/** Encodes each event under the id that its own topic's subject has. */
function eventSerde(schemaIds: Readonly<Record<Priority, number>>): Serde<BiometricEvent> {
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
