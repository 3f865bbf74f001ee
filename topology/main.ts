import { Registry } from 'prom-client';
import { startAdmin } from '../process/admin.ts';
import type { Logger } from '../process/log.ts';
import { startService, type Running, type Service } from '../process/lifecycle.ts';
import { createDecoder } from '../schemas/codec.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import { applicationIdOf, changelogSpecs } from './changelogs.ts';
import type { TopologyConfig } from './config.ts';
import { ControlWatch, controlTopic } from './control.ts';
import { GenerationProcess } from './generation-process.ts';
import { instanceMetrics, lookUpSchemas } from './instance.ts';
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
  /** Start a candidate without the state of the live generation, whose outputs it then does not correct. */
  readonly unseeded?: boolean;
  /** Start a candidate with the whole state of this generation, which was live before, to go back to it. */
  readonly from?: number | undefined;
  /** For tests, which shorten time-outs and hook into commits. */
  readonly streams?: Partial<StreamsOptions>;
}

/** A running topology, and the port of its probes and metrics. */
export interface RunningTopology extends Running {
  readonly adminPort: number;
}

/**
 * Starts the topology process: checks rules, schemas and topics, then joins the group of its generation. If a later one
 * is live, it stays idle instead.
 */
export function startTopology(
  config: TopologyConfig,
  log: Logger,
  options: StartOptions = {},
): Promise<RunningTopology> {
  return startService(async (service) => {
    const rules =
      config.TRIGGER_RULES_FILE === undefined ? defaultRules : readRules(config.TRIGGER_RULES_FILE);
    const topics = topicNames(config.TOPIC_PREFIX, vendorNames);
    const registry = schemaRegistry(config);
    const schemaIds = await lookUpSchemas(registry, topics);
    const control = await watchGenerations(config, log, service);
    checkOrigin(config.GENERATION, options.from);
    // If a later generation is live, the topics of this one may be gone, and it stays idle.
    if (config.GENERATION >= (control?.state.live ?? 0)) await checkPartitions(config, topics, log);
    const metrics = new Registry();
    const process = new GenerationProcess({
      settings: { config, schemaIds, rules, reset: options.reset ?? false },
      isUnseeded: options.unseeded ?? false,
      from: options.from,
      decoder: createDecoder((id) => registry.typeById(id)),
      control,
      log,
      metrics: instanceMetrics(metrics, log),
      onFailed: (error) => service.fail(explained(error, config.GENERATION)),
      ...(options.streams === undefined ? {} : { options: options.streams }),
    });
    const admin = await startAdmin({
      port: config.ADMIN_PORT,
      host: config.ADMIN_HOST,
      metrics,
      probes: {
        live: () => stallReport(process.stalls()),
        ready: () => process.readiness(),
      },
    });
    service.onStop(() => admin.close());
    log.info({ port: admin.port }, 'admin port');
    // The streams bound their own stop.
    service.onStop(() => process.close(), 60_000);
    await process.start();
    return { adminPort: admin.port };
  });
}

/** Follows the control topic; a deployment that never created it has generation 0 only. */
async function watchGenerations(
  config: TopologyConfig,
  log: Logger,
  service: Service,
): Promise<ControlWatch | undefined> {
  const applicationId = applicationIdOf(config);
  const control = await ControlWatch.open(kafkaConnection(config), {
    applicationId,
    clientId: `${applicationId}-generations`,
    log,
  });
  if (control !== undefined) service.onStop(() => control.close());
  if (control === undefined && config.GENERATION > 0)
    throw new ConfigError([
      `GENERATION: ${controlTopic(applicationId)} does not exist, so that no generation can be promoted: run \`bridge topics\``,
    ]);
  const live = control?.state.live ?? 0;
  if (config.GENERATION > live + 1)
    throw new ConfigError([
      `GENERATION: generation ${live} is live, so that only ${live + 1} can be its candidate`,
    ]);
  if (control === undefined)
    log.warn(
      { topic: controlTopic(applicationId) },
      'no control topic: run `bridge topics` before a promotion',
    );
  return control;
}

function checkOrigin(generation: number, from: number | undefined): void {
  if (from === undefined) return;
  if (generation < 2)
    throw new ConfigError([`--from ${from}: a way back needs GENERATION 2 or above, the live one plus 1`]);
  if (from > generation - 2)
    throw new ConfigError([
      `--from ${from}: generation ${generation} replaces ${generation - 1}, and can go back to ${generation - 2} or one before`,
    ]);
}

/** The failure, with advice where a restart alone does not help. */
function explained(error: unknown, generation: number): unknown {
  if (!(error instanceof StreamsError)) return error;
  if (error.code === 'INSTANCE_ID_TAKEN')
    return new ConfigError([`INSTANCE_ID: ${error.message}`], { cause: error });
  if (error.code === 'START_AGAIN')
    return new StreamsError(
      'START_AGAIN',
      `${error.message}: stop all instances of generation ${generation}, run \`bridge replay discard ${generation}\` and ` +
        `\`GENERATION=${generation} bridge topics\`, and start them again`,
      { cause: error },
    );
  return error;
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
    ...changelogSpecs(applicationIdOf(config), config.GENERATION).map(({ name }) => name),
  ];
  await checkTopicsOf(kafka, all, config.TOPIC_PARTITIONS, (admin) =>
    warnOfShortOffsetRetention(admin, retentionMs, log),
  );
}
