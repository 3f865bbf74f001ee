import { Registry } from 'prom-client';
import { startAdmin } from '../process/admin.ts';
import type { Logger } from '../process/log.ts';
import { startService, type Running } from '../process/lifecycle.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { applicationIdOf, changelogSpecs } from './changelogs.ts';
import type { TopologyConfig } from './config.ts';
import { biometricStreams, lookUpSchemas } from './instance.ts';
import { kafkaClient } from '../kafka/client.ts';
import { warnOfShortOffsetRetention } from '../kafka/offset-retention.ts';
import { StreamsError, type StreamsOptions } from '../streams/index.ts';
import { stallReport } from '../kafka/progress.ts';
import { checkTopicsOf } from '../kafka/topics.ts';
import { defaultRules, readRules } from './triggers.ts';
import { ConfigError, kafkaConnection } from '../process/config.ts';
import { retentionMs, topicNames, type TopicNames } from '../schemas/topics.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';

/** The options of a start. */
export interface StartOptions {
  /** Delete state that has no offsets, instead of refusing to start. */
  readonly reset?: boolean;
  /** For tests, which shorten time-outs and hook into commits. */
  readonly streams?: Partial<StreamsOptions>;
}

/** A running topology, and the port of its probes and metrics. */
export interface RunningTopology extends Running {
  readonly adminPort: number;
}

/** Starts the topology process: checks rules, schemas and topics, then joins the group. */
export function startTopology(
  config: TopologyConfig,
  log: Logger,
  options: StartOptions = {},
): Promise<RunningTopology> {
  return startService(async (service) => {
    const rules =
      config.TRIGGER_RULES_FILE === undefined ? defaultRules : readRules(config.TRIGGER_RULES_FILE);
    const topics = topicNames(config.TOPIC_PREFIX, vendorNames);
    const schemaIds = await lookUpSchemas(schemaRegistry(config), topics);
    await checkPartitions(config, topics, log);
    const settings = { config, schemaIds, rules, reset: options.reset ?? false };
    const metrics = new Registry();
    const streams = biometricStreams(settings, {
      log,
      registry: metrics,
      ...(options.streams === undefined ? {} : { options: options.streams }),
    });
    const admin = await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      metrics,
      probes: {
        live: () => stallReport(streams.stalls()),
        ready: () => (streams.state === 'RUNNING' ? 'ok' : `state ${streams.state}`),
      },
    });
    service.onStop(() => admin.close());
    log.info({ port: admin.port }, 'admin port');
    streams.failed.catch((error: unknown) => service.fail(configurationFault(error) ?? error));
    // The streams bound their own stop.
    service.onStop(() => streams.close(), 60_000);
    await streams.start();
    return { adminPort: admin.port };
  });
}

/** A failure that only another INSTANCE_ID fixes, as the fault of the variable that it is. */
function configurationFault(error: unknown): ConfigError | undefined {
  return error instanceof StreamsError && error.code === 'INSTANCE_ID_TAKEN'
    ? new ConfigError([`INSTANCE_ID: ${error.message}`], { cause: error })
    : undefined;
}

async function checkPartitions(
  config: TopologyConfig,
  topics: TopicNames<VendorName>,
  log: Logger,
): Promise<void> {
  const kafka = kafkaClient(kafkaConnection(config), { clientId: 'bridge-topology-check', log });
  const all = [
    ...Object.values(topics.raw),
    ...Object.values(topics.priority),
    topics.deadLetters,
    ...changelogSpecs(applicationIdOf(config)).map(({ name }) => name),
  ];
  await checkTopicsOf(kafka, all, config.TOPIC_PARTITIONS, (admin) =>
    warnOfShortOffsetRetention(admin, retentionMs, log),
  );
}
