/** The only file that imports kafkajs: exports what the project uses of it, with our defaults. */
import kafkajs, {
  type CompressionTypes as Compression,
  type Kafka,
  type KafkaConfig,
  type LogEntry,
  type PartitionError,
  type SASLOptions,
} from 'kafkajs';
import type { ConnectionOptions } from 'node:tls';
import { causes } from '../process/errors.ts';
import { compressSnappy } from './compression.ts';
import type { Sockets } from './sockets.ts';

export type {
  Admin,
  AssignerProtocol,
  FetchedRecordSet,
  Fetcher as RawFetcher,
  GroupMember as RawGroupMember,
  GroupMemberAssignment,
  Kafka,
  Membership as RawMembership,
  Message,
  PartitionError,
  Producer,
  TopicMessages,
  Transaction,
} from 'kafkajs';

export type { Compression };
export const { AssignerProtocol: assignerProtocol, CompressionTypes } = kafkajs;
/** The resource types of a topic and of a broker, for their configuration. */
export const { TOPIC: topicResource, BROKER: brokerResource } = kafkajs.ConfigResourceTypes;
/** The source of a setting that was set on the topic itself. */
export const setOnTopic = kafkajs.ConfigSource.TOPIC_CONFIG;

// The default partitioner is Java's murmur2, which is what we want; the warning says only that it changed once.
process.env['KAFKAJS_NO_PARTITIONER_WARNING'] = '1';

/** Where the brokers are and how to log in. */
export interface KafkaConnection {
  readonly brokers: readonly string[];
  readonly ssl?: boolean | ConnectionOptions;
  readonly sasl?: SASLOptions;
  /** Compression of written records; default none. What Kafka's clients write by default can always be read. */
  readonly compression?: 'snappy' | 'none';
  /** What opens the connections; kafkajs does without it. */
  readonly sockets?: Sockets;
}

/** The part of a pino logger that the client needs. */
export interface KafkaLog {
  debug(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** For commands, which say themselves what failed. */
export const silentLog: KafkaLog = {
  debug: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** The compression to pass to a send. */
export function compressionOf({ compression }: KafkaConnection): Compression {
  return compression === 'snappy' ? kafkajs.CompressionTypes.Snappy : kafkajs.CompressionTypes.None;
}

/** The default retry policy; it gives up after about 5 s. */
export const defaultRetry = {
  initialRetryTime: 100,
  multiplier: 1.5,
  maxRetryTime: 250,
  retries: 20,
} as const;

/**
 * A client of the cluster.
 * @param options.retry - instead of `defaultRetry`.
 */
export function kafkaClient(
  connection: KafkaConnection,
  options: { clientId: string; log: KafkaLog; retry?: NonNullable<KafkaConfig['retry']> },
): Kafka {
  return new kafkajs.Kafka({
    clientId: options.clientId,
    brokers: inTurn(connection.brokers),
    ...(connection.ssl === undefined ? {} : { ssl: connection.ssl }),
    ...(connection.sasl === undefined ? {} : { sasl: connection.sasl }),
    ...(connection.sockets === undefined ? {} : { socketFactory: connection.sockets.create }),
    // 1 s, the client's default, is short of what a TLS handshake to a busy broker takes.
    connectionTimeout: 5_000,
    requestTimeout: 10_000,
    retry: options.retry ?? defaultRetry,
    logLevel: kafkajs.logLevel.WARN,
    logCreator: () => clientLog(options.log),
  });
}

/**
 * One broker of the list after the other, for each attempt of a client to connect: a list would be begun from its first
 * by every new connection, and that one may be dead.
 */
function inTurn(brokers: readonly string[]): () => string[] {
  let turn = 0;
  return () => {
    const broker = brokers[turn % brokers.length];
    turn += 1;
    return broker === undefined ? [] : [broker];
  };
}

/**
 * The Kafka name of an error (`ILLEGAL_GENERATION`, `MESSAGE_TOO_LARGE`, …), found through the wrappers that kafkajs puts
 * around it; undefined when the error did not come from a broker.
 */
export function kafkaErrorType(error: unknown): string | undefined {
  for (const link of causes(error)) {
    if ('type' in link && typeof link.type === 'string') return link.type;
  }
  return undefined;
}

/**
 * Whether an error of the client says that the same call can succeed later: a lost connection, a moved leader or
 * coordinator, a broker that is not ready, or one that does not say what is wrong.
 */
export function isRetriable(error: unknown): boolean {
  return isUnexplained(error) || causes(error).some((link) => 'retriable' in link && link.retriable === true);
}

/**
 * Whether a broker has answered that something is wrong, but not what: its UNKNOWN_SERVER_ERROR, or a code that this
 * client does not know.
 */
export function isUnexplained(error: unknown): boolean {
  const type = kafkaErrorType(error);
  return type === 'UNKNOWN' || type === 'KAFKAJS_UNKNOWN_ERROR_CODE';
}

/**
 * What brokers have answered for each partition of a send that failed; empty when it failed for another reason. Its texts
 * about single records may quote them: pass none of them on.
 */
export function partitionErrors(error: unknown): readonly PartitionError[] {
  for (const link of causes(error)) {
    if ('partitionErrors' in link) return link.partitionErrors as readonly PartitionError[];
  }
  return [];
}

/** The partition of a key among `partitions`: murmur2, as Kafka's own Java clients compute it. */
export function keyPartition(key: Buffer, partitions: number): number {
  let partitionMetadata = partitionLists.get(partitions);
  if (partitionMetadata === undefined) {
    partitionMetadata = Array.from({ length: partitions }, (_, partitionId) => ({
      partitionErrorCode: 0,
      partitionId,
      leader: 0,
      replicas: [],
      isr: [],
    }));
    partitionLists.set(partitions, partitionMetadata);
  }
  return partitioner({ topic: '', partitionMetadata, message: { key, value: null } });
}

const partitioner = kafkajs.Partitioners.DefaultPartitioner();
// One entry per partition count; a process uses one.
const partitionLists = new Map<number, Parameters<typeof partitioner>[0]['partitionMetadata']>();

// Nothing is fetched with kafkajs' own decoder, which would want the other direction as well.
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.Snappy] = () => ({
  compress: ({ buffer }: { buffer: Buffer }) => Promise.resolve(compressSnappy(buffer)),
});

/** While brokers are down the client logs the same line for every attempt; once within this time is enough. */
const repeatAfterMs = 10_000;

/** Writes a client's log to ours; lines that are also thrown, or repeat a recent one, at debug only. */
function clientLog(log: KafkaLog): (entry: LogEntry) => void {
  const loggedAt = new Map<string, number>();
  return ({ level, log: entry, namespace }) => {
    // Only fields that are known to hold no record data; the client's messages themselves name topics and errors.
    const fields: Record<string, unknown> = { client: namespace };
    for (const name of ['broker', 'groupId', 'memberId', 'topic', 'partition', 'retryCount', 'error']) {
      if (typeof entry[name] === 'string' || typeof entry[name] === 'number') fields[name] = entry[name];
    }
    const { message } = entry;
    const now = performance.now();
    const isRepeated = now - (loggedAt.get(message) ?? -Infinity) < repeatAfterMs;
    if (isThrownAsWell(namespace, message) || isRepeated || level > kafkajs.logLevel.WARN) {
      log.debug(fields, message);
      return;
    }
    if (loggedAt.size > 100) loggedAt.clear();
    loggedAt.set(message, now);
    if (level === kafkajs.logLevel.ERROR) log.error(fields, message);
    else log.warn(fields, message);
  };
}

// The client both logs and throws error codes of responses and a producer's failures; the code that catches them knows
// which are normal (a rebalance, a moved coordinator). The last one is about the retry policy of transactions.
function isThrownAsWell(namespace: string, message: string): boolean {
  return (
    message.startsWith('Response ') ||
    message.startsWith('The group is rebalancing') ||
    message.startsWith('Limiting retries') ||
    namespace === 'Producer'
  );
}
