import type { CommitStep } from './commit.ts';
import { deadLetterAlways, type ErrorHandlers } from './errors.ts';
import type { KafkaConnection, KafkaLog } from '../kafka/client.ts';
import { noMetrics, type StreamsMetrics } from './metrics.ts';

/** How a topology runs. Durations are in milliseconds. */
export interface StreamsOptions {
  readonly connection: KafkaConnection;
  /** The consumer group, and the first part of the transactional ids. */
  readonly applicationId: string;
  /** Distinguishes instances; give a restarted instance the same one, so that it settles its predecessor's transaction. */
  readonly instanceId: string;
  /** Distinguishes the stream threads of an instance. Default `1`. */
  readonly threadName?: string;
  /** Where dead letters go; without it a handler's `deadLetter` fails. */
  readonly deadLetterTopic?: string;
  /** One per seam. Default: all dead-letter. */
  readonly handlers?: Partial<ErrorHandlers>;
  /** The most work that one transaction holds; an idle topology commits at once. Default 100. */
  readonly commitIntervalMs?: number;
  /** Default 10,000. */
  readonly sessionTimeoutMs?: number;
  /** After a process dies, readers wait for its open transaction at most this long, plus the broker's scan. Default 10,000. */
  readonly transactionTimeoutMs?: number;
  /** Recoveries in a row without a commit before giving up. Default 30, with pauses of up to 5 s between. */
  readonly maxRecoveries?: number;
  /** How long close() waits for the open transaction, the group and the producer, each. Default 5,000. */
  readonly closeTimeoutMs?: number;
  /**
   * A task whose changelogs hold state while the group knows no position of any of its source partitions is refused:
   * reading from the beginning would apply every record to the state a second time. With this its state is deleted
   * instead, and rebuilt from what the source topics still hold. Default false.
   */
  readonly reset?: boolean;
  /** How often outdated entries of stores are looked for. Default 60,000. */
  readonly sweepIntervalMs?: number;
  readonly log: StreamsLog;
  readonly metrics?: StreamsMetrics;
  /** For fault tests: called after each step of each commit. */
  readonly afterStep?: (step: CommitStep) => void | Promise<void>;
}

export interface StreamsLog extends KafkaLog {
  info(fields: object, message: string): void;
}

/** The options with their defaults filled in. */
export type StreamsConfig = Required<Omit<StreamsOptions, 'deadLetterTopic' | 'handlers'>> & {
  readonly deadLetterTopic: string | undefined;
  readonly handlers: ErrorHandlers;
};

/** Fills in the defaults. */
export function streamsConfig(options: StreamsOptions): StreamsConfig {
  return {
    connection: options.connection,
    applicationId: options.applicationId,
    instanceId: options.instanceId,
    threadName: options.threadName ?? '1',
    deadLetterTopic: options.deadLetterTopic,
    handlers: { ...deadLetterAlways, ...options.handlers },
    commitIntervalMs: options.commitIntervalMs ?? 100,
    sessionTimeoutMs: options.sessionTimeoutMs ?? 10_000,
    transactionTimeoutMs: options.transactionTimeoutMs ?? 10_000,
    maxRecoveries: options.maxRecoveries ?? 30,
    closeTimeoutMs: options.closeTimeoutMs ?? 5_000,
    reset: options.reset ?? false,
    sweepIntervalMs: options.sweepIntervalMs ?? 60_000,
    log: options.log,
    metrics: options.metrics ?? noMetrics,
    afterStep: options.afterStep ?? (() => undefined),
  };
}
