import { portVariables } from './ports.ts';

/** The variables that the local stack reads, for help. */
export const localVariables = {
  LOCAL_DIRECTORY: { description: 'directory of data, logs and the file env', default: '.local' },
  LOCAL_KAFKA_PORT: {
    description:
      'port of Kafka; its controller takes the next port, and two more brokers the four after that',
    default: portVariables.LOCAL_KAFKA_PORT,
  },
  LOCAL_REGISTRY_PORT: {
    description: 'port of the schema registry',
    default: portVariables.LOCAL_REGISTRY_PORT,
  },
  LOCAL_POSTGRES_PORT: { description: 'port of Postgres', default: portVariables.LOCAL_POSTGRES_PORT },
  LOCAL_REDIS_PORT: { description: 'port of Redis', default: portVariables.LOCAL_REDIS_PORT },
  JAVA_HOME: { description: 'Java to use instead of the one on PATH', default: undefined },
  KAFKA_BOOTSTRAP_SERVERS: {
    description: 'a running Kafka to use instead: nothing is started, and the next two are required',
    default: undefined,
  },
  SCHEMA_REGISTRY_URL: { description: 'the schema registry of that Kafka', default: undefined },
  POSTGRES_URL: { description: 'the database to use with it', default: undefined },
} as const;
