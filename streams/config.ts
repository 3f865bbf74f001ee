import type { CommitStep } from './commit.ts';
import { deadLetterAlways, StreamsError, type ErrorHandlers } from './errors.ts';
import type { KafkaConnection, KafkaLog } from '../kafka/client.ts';
import { noMetrics, type StreamsMetrics } from './metrics.ts';
import type { CreatePunctuator, MayReset } from './punctuator.ts';
import type { InputRecord } from './record.ts';

/** How a topology runs. */
export interface StreamsOptions {
  readonly connection: KafkaConnection;
  /** The consumer group, and the first part of the transactional id. No id may hold a colon. */
  readonly applicationId: string;
  /** Distinguishes instances. A restarted instance needs the same one, to settle its predecessor's transaction. */
  readonly instanceId: string;
  /** Where dead letters go. Default none: a handler's `deadLetter` then counts as `fail`. */
  readonly deadLetterTopic?: string;
  /** What happens to a record that fails, for each seam. Default `deadLetter`. */
  readonly handlers?: Partial<ErrorHandlers>;
  /** How long one transaction takes in records; an idle topology commits at once. Default 100. */
  readonly commitIntervalMs?: number;
  /** Default 10,000. */
  readonly sessionTimeoutMs?: number;
  /** Recoveries in a row without a commit before the instance fails. Default 30, with pauses of up to 5 s between. */
  readonly maxRecoveries?: number;
  /**
   * Whether to delete the state of a task whose changelogs hold state while the group has no position of any of its
   * source partitions, and to rebuild it from what the source topics still hold. Default false: such a task stops the
   * instance, because reading from the beginning would apply every record to the state a second time.
   */
  readonly reset?: boolean;
  /** How often stores are swept of expired entries. Default 60,000. */
  readonly sweepIntervalMs?: number;
  /** How long nothing may move before stalls() tells of it, and the log. Default 60,000. */
  readonly stallMs?: number;
  /** What each task does besides its records. Default: nothing. */
  readonly punctuator?: CreatePunctuator;
  /**
   * Whether a task may go on at the beginning of a log that does not have its position any more. Where it may not, the instance
   * fails with START_AGAIN. Default: it may.
   */
  readonly mayReset?: MayReset;
  /** Awaited after each join, before a task is taken over or a transaction begun: an instance that must not run closes in it. */
  readonly onJoined?: () => Promise<void>;
  /** What the group's members, and those who describe the group, can read of this one. */
  readonly memberData?: Readonly<Record<string, unknown>>;
  /** Where the dead letters of a record go, other than to `deadLetterTopic`; that has to exist as well. */
  readonly deadLetterTopicOf?: (record: InputRecord) => string | undefined;
  readonly log: StreamsLog;
  /** Default `noMetrics`. */
  readonly metrics?: StreamsMetrics;
  /** For fault tests: called after each step of each commit. */
  readonly afterStep?: (step: CommitStep) => void | Promise<void>;
}

export interface StreamsLog extends KafkaLog {
  info(fields: object, message: string): void;
}

/** The options with their defaults filled in. */
export type StreamsConfig = Required<
  Omit<StreamsOptions, 'deadLetterTopic' | 'deadLetterTopicOf' | 'handlers' | 'punctuator'>
> & {
  readonly deadLetterTopic: string | undefined;
  readonly deadLetterTopicOf: StreamsOptions['deadLetterTopicOf'];
  readonly punctuator: CreatePunctuator | undefined;
  readonly handlers: ErrorHandlers;
};

/**
 * Fills in the defaults.
 * @throws StreamsError INVALID_CONFIG when an id holds a colon, which separates the parts of transactional ids.
 */
export function streamsConfig(options: StreamsOptions): StreamsConfig {
  if ([options.applicationId, options.instanceId].some((id) => id.includes(':')))
    throw new StreamsError('INVALID_CONFIG', 'applicationId and instanceId may not hold a colon');
  return {
    deadLetterTopic: undefined,
    deadLetterTopicOf: undefined,
    punctuator: undefined,
    mayReset: () => true,
    onJoined: () => Promise.resolve(),
    memberData: {},
    commitIntervalMs: 100,
    sessionTimeoutMs: 10_000,
    maxRecoveries: 30,
    reset: false,
    sweepIntervalMs: 60_000,
    stallMs: 60_000,
    metrics: noMetrics,
    afterStep: () => undefined,
    ...options,
    handlers: { ...deadLetterAlways, ...options.handlers },
  };
}

/** How long close() waits for the open transaction, the group and the producer, each. */
export const closeTimeoutMs = 5_000;
