import { z } from 'zod';
import { readText } from './text-file.ts';

/** One environment variable of a process: its type, its default, and whether it may be printed. */
export interface Variable<T> {
  /** Parses the text of the variable; its messages must not quote the text. */
  readonly schema: z.ZodType<T>;
  /** Used when the variable is unset or empty. Without one the variable is required. */
  readonly default?: T | (() => T);
  /** Never printed: `bridge config` and logs show `[redacted]`. */
  readonly secret?: boolean;
  /** The meaning, for `bridge config` and help texts. */
  readonly description: string;
}

export type VariableTable = Readonly<Record<string, Variable<unknown>>>;

/** The typed values of a table: each variable under its own name, so that a value is found by searching for it. */
export type Config<T extends VariableTable> = {
  readonly [K in keyof T]: T[K] extends Variable<infer V> ? V : never;
};

/** The environment is not usable; `faults` names every wrong variable, not only the first. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly faults: readonly string[];
  constructor(faults: readonly string[], options?: ErrorOptions) {
    super(`the environment is not usable:\n${faults.map((fault) => `  ${fault}`).join('\n')}`, options);
    this.faults = faults;
  }
}

/**
 * Reads the variables of `table` from `env`. `<NAME>_FILE` names a file that holds the value, one line of UTF-8 with or
 * without a byte order mark; `<NAME>` wins over it. An empty variable counts as unset.
 * @throws ConfigError naming every missing or malformed variable; values are never quoted.
 */
export function readConfig<T extends VariableTable>(table: T, env: NodeJS.ProcessEnv): Config<T> {
  const faults: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries(table)) {
    const text = valueOf(name, env, faults);
    if (text === undefined) {
      if (!('default' in variable)) faults.push(`${name} is required: ${variable.description}`);
      else
        values[name] =
          typeof variable.default === 'function' ? (variable.default as () => unknown)() : variable.default;
      continue;
    }
    const parsed = variable.schema.safeParse(text);
    if (parsed.success) values[name] = parsed.data;
    else
      faults.push(
        `${name}: ${parsed.error.issues.map((issue) => issue.message).join(', ')} (${variable.description})`,
      );
  }
  if (faults.length > 0) throw new ConfigError(faults);
  return values as Config<T>;
}

function valueOf(name: string, env: NodeJS.ProcessEnv, faults: string[]): string | undefined {
  const direct = env[name];
  if (direct !== undefined && direct !== '') return direct;
  const file = env[`${name}_FILE`];
  if (file === undefined || file === '') return undefined;
  try {
    const text = readText(file).replace(/[\r\n]+$/, '');
    // eslint-disable-next-line no-control-regex -- They are looked for on purpose: no value has one.
    if (/[\0-\x08\x0a-\x1f\x7f]/.test(text)) throw new Error('holds several lines or a control character');
    return text === '' ? undefined : text;
  } catch (error) {
    faults.push(
      `${name}_FILE names a file that ${error instanceof Error ? error.message : 'cannot be read'}`,
    );
    return undefined;
  }
}

/** Formats the values as text, secrets as `[redacted]` (or `[unset]`). */
export function describeConfig<T extends VariableTable>(table: T, config: Config<T>): Record<string, string> {
  const shown: Record<string, string> = {};
  for (const [name, variable] of Object.entries(table)) {
    const value = config[name as keyof T] as unknown;
    const unset = value === undefined || (Array.isArray(value) && value.length === 0);
    if (unset) shown[name] = '[unset]';
    else if (variable.secret === true) shown[name] = '[redacted]';
    else if (Array.isArray(value)) shown[name] = value.join(',');
    else if (variable.schema === is.onOff) shown[name] = value === true ? 'on' : 'off';
    else shown[name] = typeof value === 'string' ? value : JSON.stringify(value);
  }
  return shown;
}

const list = z
  .string()
  .transform((text) => text.split(',').map((part) => part.trim()))
  .refine((parts) => parts.every((part) => part !== ''), {
    error: 'must be values separated by commas, none of them empty',
  });

function isAddress(text: string): boolean {
  const port = /^(?:[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/.exec(text)?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
}

/** Parsers for the values that occur in environments. */
export const is = {
  text: z.string(),
  /** Values between commas. An empty one is a fault: it usually is a variable that was not set when the list was made. */
  list,
  brokers: list.refine((brokers) => brokers.every(isAddress), {
    error: 'must be host:port, or several separated by commas, each without a protocol ([::1]:9092 for IPv6)',
  }),
  /** The characters that Kafka allows in names of topics. */
  name: z
    .string()
    .regex(/^[a-zA-Z0-9._-]*$/, { error: 'may hold letters, digits, dots, underscores and dashes' }),
  /** A whole number from `min` to `max`; digits only, so that `1e3`, `0x10` or ` 5` are faults. */
  integer: (min: number, max: number): z.ZodType<number> =>
    z
      .string()
      .regex(/^-?\d+$/, { error: 'must be a whole number' })
      .transform(Number)
      .refine((value) => value >= min && value <= max, { error: `must be between ${min} and ${max}` }),
  onOff: z
    .string()
    .regex(/^(on|off)$/, { error: 'must be on or off' })
    .transform((text) => text === 'on'),
  boolean: z
    .string()
    .regex(/^(true|false)$/, { error: 'must be true or false' })
    .transform((text) => text === 'true'),
  url: z.string().refine((text) => URL.canParse(text), { error: 'must be a URL' }),
  oneOf: <const T extends readonly [string, ...string[]]>(values: T): z.ZodType<T[number]> =>
    z.string().refine((text): text is T[number] => values.includes(text), {
      error: `must be one of ${values.join(', ')}`,
    }),
};

/** Ties a schema to its default, so that the type of the default is checked. */
export function variable<T>(definition: Variable<T>): Variable<T> {
  return definition;
}

/** How to reach Kafka, and the size and prefix of this deployment's topics. */
export const kafkaVariables = {
  KAFKA_BOOTSTRAP_SERVERS: variable<string[]>({
    schema: is.brokers,
    description: 'host:port of one or more brokers',
  }),
  KAFKA_SSL: variable<boolean>({
    schema: is.boolean,
    default: false,
    description: 'true to connect with TLS',
  }),
  KAFKA_SASL_MECHANISM: variable<'plain' | 'scram-sha-256' | 'scram-sha-512' | undefined>({
    schema: is.oneOf(['plain', 'scram-sha-256', 'scram-sha-512']),
    default: undefined,
    description: 'plain, scram-sha-256 or scram-sha-512; unset for none',
  }),
  KAFKA_SASL_USERNAME: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    description: 'SASL user',
  }),
  KAFKA_SASL_PASSWORD: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    secret: true,
    description: 'SASL password',
  }),
  KAFKA_COMPRESSION_TYPE: variable<'snappy' | 'none'>({
    schema: is.oneOf(['snappy', 'none']),
    default: 'snappy',
    description: 'compression of written records: snappy, or none for readers that cannot decode it',
  }),
  TOPIC_PARTITIONS: variable<number>({
    schema: is.integer(1, 10_000),
    default: 12,
    description: 'partitions of every topic; they cannot be changed later',
  }),
  TOPIC_REPLICATION_FACTOR: variable<number>({
    schema: is.integer(1, 10),
    default: 3,
    description: 'replicas of every topic; min.insync.replicas is 2 unless this is 1',
  }),
  TOPIC_PREFIX: variable<string>({
    schema: is.name,
    default: '',
    description: 'prefix of topics, groups and transactional ids',
  }),
} as const;

/** The connection that the KAFKA_* variables describe, as kafka/client.ts takes it. */
export function kafkaConnection(config: Config<Omit<typeof kafkaVariables, `TOPIC_${string}`>>) {
  const connection = {
    brokers: config.KAFKA_BOOTSTRAP_SERVERS,
    ssl: config.KAFKA_SSL,
    compression: config.KAFKA_COMPRESSION_TYPE,
  };
  const mechanism = config.KAFKA_SASL_MECHANISM;
  if (mechanism === undefined) return connection;
  const username = config.KAFKA_SASL_USERNAME ?? '';
  const password = config.KAFKA_SASL_PASSWORD ?? '';
  return { ...connection, sasl: { mechanism, username, password } };
}

/** Where the schema registry is (Confluent API). */
export const registryVariables = {
  SCHEMA_REGISTRY_URL: variable<string>({
    schema: is.url,
    description: 'base URL of the Confluent API of the registry',
  }),
  SCHEMA_REGISTRY_USERNAME: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    description: 'basic auth user of the registry',
  }),
  SCHEMA_REGISTRY_PASSWORD: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    secret: true,
    description: 'basic auth password of the registry',
  }),
} as const;

/** Name and log level, for every process. */
export const processVariables = {
  SERVICE_NAME: variable<string>({
    schema: is.text,
    default: 'biometric-bridge',
    description: 'name in logs and metrics',
  }),
  LOG_LEVEL: variable<'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'>({
    schema: is.oneOf(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']),
    default: 'info',
    description: 'fatal, error, warn, info, debug, trace or silent',
  }),
} as const;

/** Where a process without other HTTP serves its probes and metrics. */
export function adminVariables(port: number) {
  return {
    ADMIN_PORT: variable<number>({
      schema: is.integer(0, 65_535),
      default: port,
      description: 'port of /livez, /readyz and /metrics; 0 takes any free one',
    }),
    ADMIN_HOST: variable<string>({
      schema: is.text,
      default: '127.0.0.1',
      description: 'address that ADMIN_PORT listens on',
    }),
  } as const;
}

/** When the probe /livez of a process that reads topics fails. */
export const stallVariables = {
  STALL_MS: variable<number>({
    schema: is.integer(1_000, 3_600_000),
    default: 60_000,
    description:
      'milliseconds without a commit, while records wait and the brokers answer, after which /livez fails',
  }),
} as const;
