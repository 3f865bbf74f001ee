import { InvalidArgumentError, Option } from 'commander';
import { kafkaClient, silentLog, type Admin } from '../kafka/client.ts';
import { warnOfShortOffsetRetention } from '../kafka/offset-retention.ts';
import {
  applySettings,
  isApplicable,
  topicDifferences,
  type TopicDifference,
} from '../kafka/topic-settings.ts';
import { checkTopics, createTopics, TopicError, type TopicSpec } from '../kafka/topics.ts';
import { is, kafkaVariables, kafkaConnection, variable, type Config } from '../process/config.ts';
import { readerTopicSpecs, retentionMs, topicNames, topicSpecs } from '../schemas/topics.ts';
import { applicationIdOf, changelogSpecs } from '../topology/changelogs.ts';
import { applicationVariables, generationVariables } from '../topology/config.ts';
import { controlSpec, ControlWatch } from '../topology/control.ts';
import { vendorNames } from '../vendors/index.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';

const variables = {
  ...kafkaVariables,
  ...applicationVariables,
  GENERATION: variable<number | undefined>({
    ...generationVariables.GENERATION,
    default: undefined,
    description: 'the generation whose changelogs are meant; by default the one that is live',
  }),
};

interface Options {
  readonly check?: true;
  readonly apply?: true;
  readonly reader?: string;
}

/** `bridge topics`. */
export function define(command: Command): void {
  command
    .description(
      `Create every missing topic with explicit settings, the changelogs of the topology's stores included, and compare those that exist: partition count, replication factor and each setting that the bridge relies on. Prints every difference; another partition count is a failure.`,
    )
    .option('--check', 'change nothing; exit with 1 when a topic is missing or differs')
    .addOption(
      new Option(
        '--apply',
        'change the settings that differ; other settings of the topics stay. Partition counts and replication factors are not changed. Nobody else may change these topics meanwhile',
      ).conflicts('check'),
    )
    .addOption(
      new Option(
        '--reader <name>',
        'besides, the dead-letter topic of a reader of the priority topics: <TOPIC_PREFIX><name>.dlq for the client of consumers/neuros with the groupId <name>',
      ).argParser(readerName),
    )
    .environment(variables)
    .does(run);
}

function readerName(text: string): string {
  const { success, error } = is.name.safeParse(text);
  if (!success) throw new InvalidArgumentError(`It ${error.issues.map((one) => one.message).join(', ')}.`);
  if (text === '') throw new InvalidArgumentError('It must not be empty.');
  return text;
}

async function run(options: Options): Promise<number> {
  const config = configured(variables);
  const log = silentLog;
  const admin = kafkaClient(kafkaConnection(config), { clientId: 'bridge-topics', log }).admin();
  try {
    await admin.connect();
    const generation = config.GENERATION ?? (await liveGeneration(config));
    const specs = specsOf(config, { generation, reader: options.reader });
    const warn = (_: object, message: string): void => void process.stderr.write(`warning: ${message}\n`);
    await warnOfShortOffsetRetention(admin, retentionMs, { ...log, warn });
    return await createOrCompare(admin, config, specs, options);
  } catch (error) {
    if (error instanceof TopicError || error instanceof InvalidArgumentError) throw error;
    const reason = error instanceof Error ? error.message : 'unknown failure';
    throw new Error(`Kafka at ${config.KAFKA_BOOTSTRAP_SERVERS.join(', ')} failed: ${reason}`, {
      cause: error,
    });
  } finally {
    await admin.disconnect();
  }
}

/** The generation that the control topic names; the first where there is none yet. */
async function liveGeneration(config: Config<typeof variables>): Promise<number> {
  const control = await ControlWatch.open(kafkaConnection(config), {
    applicationId: applicationIdOf(config),
    clientId: 'bridge-topics',
    log: silentLog,
  });
  await control?.close();
  return control?.state.live ?? 0;
}

/** @throws InvalidArgumentError when a topic of the reader is one of the bridge's own. */
function specsOf(
  config: Config<typeof variables>,
  { generation, reader }: { generation: number; reader: string | undefined },
): TopicSpec[] {
  const own = [
    ...topicSpecs(topicNames(config.TOPIC_PREFIX, vendorNames)),
    ...changelogSpecs(applicationIdOf(config), generation),
    controlSpec(applicationIdOf(config)),
  ];
  const readers = reader === undefined ? [] : readerTopicSpecs(config.TOPIC_PREFIX, reader);
  for (const { name } of readers)
    if (own.some((spec) => spec.name === name))
      throw new InvalidArgumentError(`${name} is a topic of the bridge itself: choose another --reader`);
  return [...own, ...readers];
}

async function createOrCompare(
  admin: Admin,
  config: Config<typeof variables>,
  specs: readonly TopicSpec[],
  { check, apply }: Options,
): Promise<number> {
  const names = specs.map(({ name }) => name);
  const replicationFactor = config.TOPIC_REPLICATION_FACTOR;
  const size = { partitions: config.TOPIC_PARTITIONS, replicationFactor };
  const created = check === true ? [] : await createTopics(admin, specs, size);
  const differences = await topicDifferences(admin, specs, replicationFactor);
  const changing = apply === true ? differences.filter(isApplicable) : [];
  await applySettings(admin, changing);
  const remaining = differences.filter((difference) => !changing.includes(difference));
  for (const difference of changing) print('changed', difference, 'was', 'is');
  for (const difference of remaining) print('differs', difference, 'is', 'should be');
  // After what differs, because a topic that is missing or has another partition count ends the command.
  if (check === true) await checkTopics(admin, specs, config.TOPIC_PARTITIONS);
  const differing = new Set(differences.map(({ topic }) => topic));
  for (const name of names.filter((topic) => !differing.has(topic)))
    process.stdout.write(`${created.includes(name) ? 'created' : 'present'}  ${name}\n`);
  if (remaining.length === 0) return 0;
  process.stderr.write(`bridge topics: ${whatToDo(remaining)}\n`);
  return check === true || apply === true ? 1 : 0;
}

function print(
  verb: string,
  { topic, setting, is, wanted }: TopicDifference,
  now: string,
  then: string,
): void {
  process.stdout.write(`${verb}  ${topic}: ${setting} ${now} ${is}, ${then} ${wanted}\n`);
}

function whatToDo(differences: readonly TopicDifference[]): string {
  const applicable = differences.some(isApplicable) ? ['`bridge topics --apply` changes settings'] : [];
  const replication = differences.every(isApplicable)
    ? []
    : [
        'kafka-reassign-partitions.sh changes a replication factor, or set TOPIC_REPLICATION_FACTOR to what it is',
      ];
  return [...applicable, ...replication].join('; ');
}
