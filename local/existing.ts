import { readLocalEnv, stackDirectory, vendorSecrets } from './env.ts';
import { StackError } from './errors.ts';

/**
 * Whether the environment names a Kafka that is not our own. A shell that has read this clone's `.local/env` names
 * our own stack, which starts as it does in any other shell.
 */
export function namesOtherKafka(env: NodeJS.ProcessEnv, directory: string): boolean {
  const servers = env['KAFKA_BOOTSTRAP_SERVERS'] ?? '';
  if (servers === '') return false;
  const own = [directory, stackDirectory(env)].map((each) => readLocalEnv(each)['KAFKA_BOOTSTRAP_SERVERS']);
  return !own.includes(servers);
}

/**
 * The stack that the environment names. Starts nothing and connects to nothing.
 * @throws StackError EXISTING_INCOMPLETE naming the variables that must accompany KAFKA_BOOTSTRAP_SERVERS.
 */
export function existingStack(env: NodeJS.ProcessEnv, directory: string) {
  const value = (name: string): string => env[name] ?? '';
  const missing = ['SCHEMA_REGISTRY_URL', 'POSTGRES_URL'].filter((name) => value(name) === '');
  if (missing.length > 0) {
    throw new StackError(
      'EXISTING_INCOMPLETE',
      `KAFKA_BOOTSTRAP_SERVERS is set, so the Kafka that it names is used; but ${missing.join(' and ')} ` +
        `${missing.length === 1 ? 'is' : 'are'} not. Set ${missing.length === 1 ? 'it' : 'them'} too, ` +
        'or unset KAFKA_BOOTSTRAP_SERVERS to start a local stack.',
    );
  }
  const addresses = ['KAFKA_BOOTSTRAP_SERVERS', 'SCHEMA_REGISTRY_URL', 'POSTGRES_URL', 'REDIS_URL'];
  const topics = ['TOPIC_PARTITIONS', 'TOPIC_REPLICATION_FACTOR'];
  const secrets = vendorSecrets(directory);
  const values = [...addresses, ...topics, ...Object.keys(secrets)].map(
    (name) => [name, value(name)] as const,
  );
  return {
    kind: 'existing' as const,
    description: `existing stack: KAFKA_BOOTSTRAP_SERVERS is set (${value('KAFKA_BOOTSTRAP_SERVERS')}); nothing is started here`,
    reused: true,
    started: false,
    env: { ...secrets, ...Object.fromEntries(values.filter(([, text]) => text !== '')) },
    kafka: { brokers: [] },
    registry: null,
    postgres: null,
    redis: null,
    stop: () => Promise.resolve(),
  };
}
