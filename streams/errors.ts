import type { InputRecord, OutputRecord } from './record.ts';

/** Every way in which the library itself fails; docs and tests list them all. */
export type StreamsErrorCode =
  /** The builder was used wrongly: mend the program. */
  | 'INVALID_TOPOLOGY'
  /** The configuration of a KafkaStreams is not usable. */
  | 'INVALID_CONFIG'
  /** Source topics are missing, or have different partition counts. */
  | 'INVALID_TOPICS'
  /** Stores hold state but the group has no offsets: reading from the beginning would apply records twice. */
  | 'STATE_WITHOUT_OFFSETS'
  /** The cluster is too old, or could not be reached at start. */
  | 'UNUSABLE_CLUSTER'
  /** An error handler answered `fail` for a record: see the cause, mend, start again. */
  | 'HANDLER_FAILED'
  /** Recovery was tried as often as allowed without one commit between: see the cause. */
  | 'RECOVERIES_EXHAUSTED'
  /** The consumer stopped for good. */
  | 'CONSUMER_CRASHED'
  /** Something that cannot be was seen; going on could lose or repeat records. */
  | 'INVARIANT';

/** The library cannot go on; `code` says in which way, the message what to do. */
export class StreamsError extends Error {
  override readonly name = 'StreamsError';
  readonly code: StreamsErrorCode;
  constructor(code: StreamsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What an error handler answers, as in Kafka Streams, with dead-lettering spelled out. */
export type ErrorResponse = 'continue' | 'deadLetter' | 'fail';

/** A record that could not be handled. Carries codes, field paths and positions only, never content. */
export interface RecordFailure {
  /** Which seam: reading bytes, an operator, or the broker's refusal of an output. */
  readonly seam: 'deserialization' | 'processing' | 'production';
  /** Stable, in capitals: `NOT_JSON`, `MISSING_USER_ID`, `MESSAGE_TOO_LARGE`. */
  readonly code: string;
  /** Safe to show: our own words. */
  readonly message: string;
  /** Stack frames without the message line, which might quote the record. */
  readonly stack: string;
  /** The operator it happened in. */
  readonly node: string;
}

/** Decides what becomes of a record that failed. */
export type ErrorHandler = (failure: RecordFailure, record: InputRecord) => ErrorResponse;

/** One handler per seam. Each defaults to `deadLetter`. */
export interface ErrorHandlers {
  readonly deserialization: ErrorHandler;
  readonly processing: ErrorHandler;
  readonly production: ErrorHandler;
}

export const deadLetterAlways: ErrorHandlers = {
  deserialization: () => 'deadLetter',
  processing: () => 'deadLetter',
  production: () => 'deadLetter',
};

/** Kafka Streams' header names for dead letters (KIP-1034), and the operator's name beside them. */
export const errorHeader = {
  exception: '__streams.errors.exception',
  message: '__streams.errors.message',
  stacktrace: '__streams.errors.stacktrace',
  topic: '__streams.errors.topic',
  partition: '__streams.errors.partition',
  offset: '__streams.errors.offset',
  node: '__streams.errors.node',
} as const;

const maxStackBytes = 4096;

/** The dead letter of `record`: its own key, value, headers and timestamp, with the failure in headers beside them. */
export function deadLetter(topic: string, record: InputRecord, failure: RecordFailure): OutputRecord {
  const text = (value: string): Buffer => Buffer.from(value, 'utf8');
  return {
    topic,
    partition: record.partition,
    timestamp: record.timestamp,
    key: record.key,
    value: record.value,
    headers: {
      ...record.headers,
      [errorHeader.exception]: text(failure.code),
      [errorHeader.message]: text(failure.message),
      [errorHeader.stacktrace]: text(failure.stack).subarray(0, maxStackBytes),
      [errorHeader.topic]: text(record.topic),
      [errorHeader.partition]: text(String(record.partition)),
      [errorHeader.offset]: text(String(record.offset)),
      [errorHeader.node]: text(failure.node),
    },
  };
}

/**
 * The frames of an error's stack, our own files by name only: a dead letter does not tell where on a machine the
 * program stands, and is the same on every machine. What stands before the frames is the error's message and may
 * quote what it was given, even lines that look like frames; where the two cannot be told apart, nothing is passed on.
 */
export function stackFrames(error: unknown): string {
  if (!(error instanceof Error) || error.stack === undefined) return '';
  const message = error.stack.indexOf(error.message);
  if (message === -1) return '';
  return error.stack
    .slice(message + error.message.length)
    .split('\n')
    .filter((line) => /^\s+at /.test(line) && !line.includes('node:'))
    .map((line) => line.replace(/[^\s(]*[/\\]/g, ''))
    .join('\n');
}
