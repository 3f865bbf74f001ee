import { kafkaVariables, kafkaConnection } from '../process/config.ts';
import { applicationIdOf, changelogSpecs } from '../topology/changelogs.ts';
import { applicationVariables } from '../topology/config.ts';
import { kafkaClient } from '../kafka/client.ts';
import { checkTopics, createTopics, TopicError } from '../kafka/topics.ts';
import { UsageError, type Command } from './command.ts';
import { configured } from './environment.ts';
import { topicNames, topicSpecs } from '../schemas/topics.ts';
import { vendorNames } from '../vendors/index.ts';

export const topics: Command = {
  summary: 'create the topics, or check those that exist',
  usage: `
Usage: bridge topics [--check]

Creates every topic that is missing, the changelogs of the topology's stores among them, with explicit settings, and checks the partition counts of the others.
  --check   create nothing; exit 1 when something is missing or laid out otherwise

Environment: KAFKA_BOOTSTRAP_SERVERS and the other KAFKA_ variables, TOPIC_PARTITIONS, TOPIC_REPLICATION_FACTOR,
TOPIC_PREFIX, APPLICATION_ID.
`,
  async run(args) {
    const unknown = args.find((arg) => arg !== '--check');
    if (unknown !== undefined) throw new UsageError(`unexpected ${JSON.stringify(unknown)}`);
    const config = configured({ ...kafkaVariables, ...applicationVariables });
    const specs = [
      ...topicSpecs(topicNames(config.TOPIC_PREFIX, vendorNames)),
      ...changelogSpecs(applicationIdOf(config)),
    ];
    const names = specs.map(({ name }) => name);
    const log = { debug: () => undefined, warn: () => undefined, error: () => undefined };
    const admin = kafkaClient(kafkaConnection(config), { clientId: 'bridge-topics', log }).admin();
    try {
      await admin.connect();
      if (args.includes('--check')) await checkTopics(admin, names, config.TOPIC_PARTITIONS);
      const created = args.includes('--check')
        ? []
        : await createTopics(admin, specs, {
            partitions: config.TOPIC_PARTITIONS,
            replicationFactor: config.TOPIC_REPLICATION_FACTOR,
          });
      for (const name of names)
        process.stdout.write(`${created.includes(name) ? 'created' : 'present'}  ${name}\n`);
      return 0;
    } catch (error) {
      const reason =
        error instanceof TopicError
          ? error.message
          : `Kafka at ${config.KAFKA_BOOTSTRAP_SERVERS.join(', ')} did not do it: ${error instanceof Error ? error.message : 'unknown'}`;
      process.stderr.write(`bridge topics: ${reason}\n`);
      return 1;
    } finally {
      await admin.disconnect();
    }
  },
};
