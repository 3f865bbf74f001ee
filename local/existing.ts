import { readLocalEnv, stackDirectory, vendorSecrets } from './env.ts';
import { StackError } from './errors.ts';
import type { Stack } from './stack.ts';

/**
 * Whether the environment names a Kafka that is not our own. A shell that has read this clone's `.local/env` names
 * our own stack, which is to be started like in any other shell.
 */
export function isGiven(env: NodeJS.ProcessEnv, directory: string): boolean {
  const servers = env['KAFKA_BOOTSTRAP_SERVERS'] ?? '';
  if (servers === '') return false;
  const own = [directory, stackDirectory(env)].map((each) => readLocalEnv(each)['KAFKA_BOOTSTRAP_SERVERS']);
  return !own.includes(servers);
}

/**
 * The stack that the environment names. Nothing is started, and nothing is asked of it here.
 * @throws StackError GIVEN_INCOMPLETE naming what is missing beside KAFKA_BOOTSTRAP_SERVERS.
 */
export function given(env: NodeJS.ProcessEnv, directory: string): Stack {
  const value = (name: string): string => env[name] ?? '';
  const missing = ['SCHEMA_REGISTRY_URL', 'POSTGRES_URL'].filter((name) => value(name) === '');
  if (missing.length > 0) {
    throw new StackError(
      'GIVEN_INCOMPLETE',
      `KAFKA_BOOTSTRAP_SERVERS is set, so a running Kafka is used as given; but ${missing.join(' and ')} ` +
        `${missing.length === 1 ? 'is' : 'are'} not. Set ${missing.length === 1 ? 'it' : 'them'} too, ` +
        'or unset KAFKA_BOOTSTRAP_SERVERS to start a local stack.',
    );
  }
  const names = [
    'KAFKA_BOOTSTRAP_SERVERS',
    'SCHEMA_REGISTRY_URL',
    'POSTGRES_URL',
    'REDIS_URL',
    'TOPIC_PARTITIONS',
  ];
  const addresses = [...names, 'TOPIC_REPLICATION_FACTOR']
    .filter((name) => value(name) !== '')
    .map((name) => [name, value(name)]);
  const secrets = Object.entries(vendorSecrets(directory)).map(([name, secret]) => [
    name,
    value(name) === '' ? secret : value(name),
  ]);
  return {
    path: 'given',
    description: `given stack: KAFKA_BOOTSTRAP_SERVERS is set (${value('KAFKA_BOOTSTRAP_SERVERS')}); nothing is started here`,
    reused: true,
    started: false,
    env: Object.fromEntries([...addresses, ...secrets]) as Record<string, string>,
    kafka: { brokers: [] },
    registry: null,
    postgres: null,
    redis: null,
    stop: () => Promise.resolve(),
  };
}
