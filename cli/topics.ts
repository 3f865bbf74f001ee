import { kafkaVariables, kafkaConnection } from '../process/config.ts';
import { applicationIdOf, changelogSpecs } from '../topology/changelogs.ts';
import { applicationVariables } from '../topology/config.ts';
import { kafkaClient } from '../kafka/client.ts';
import { checkTopics, createTopics, TopicError } from '../kafka/topics.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { topicNames, topicSpecs } from '../schemas/topics.ts';
import { vendorNames } from '../vendors/index.ts';

const variables = { ...kafkaVariables, ...applicationVariables };

/** `bridge topics`. */
export function define(command: Command): void {
  command
    .description(
      `Create every missing topic with explicit settings, the changelogs of the topology's stores included, and check the partition counts of the others.`,
    )
    .option('--check', 'create nothing; exit with 1 when a topic is missing or has another partition count')
    .environment(variables)
    .does(({ check = false }: { check?: boolean }) => createOrCheck(check));
}

async function createOrCheck(check: boolean): Promise<number> {
  const config = configured(variables);
  const specs = [
    ...topicSpecs(topicNames(config.TOPIC_PREFIX, vendorNames)),
    ...changelogSpecs(applicationIdOf(config)),
  ];
  const names = specs.map(({ name }) => name);
  const log = { debug: () => undefined, warn: () => undefined, error: () => undefined };
  const admin = kafkaClient(kafkaConnection(config), { clientId: 'bridge-topics', log }).admin();
  try {
    await admin.connect();
    if (check) await checkTopics(admin, names, config.TOPIC_PARTITIONS);
    const created = check
      ? []
      : await createTopics(admin, specs, {
          partitions: config.TOPIC_PARTITIONS,
          replicationFactor: config.TOPIC_REPLICATION_FACTOR,
        });
    for (const name of names)
      process.stdout.write(`${created.includes(name) ? 'created' : 'present'}  ${name}\n`);
    return 0;
  } catch (error) {
    if (error instanceof TopicError) throw error;
    const reason = error instanceof Error ? error.message : 'unknown failure';
    throw new Error(`Kafka at ${config.KAFKA_BOOTSTRAP_SERVERS.join(', ')} failed: ${reason}`, {
      cause: error,
    });
  } finally {
    await admin.disconnect();
  }
}
