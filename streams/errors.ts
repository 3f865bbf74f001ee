import { maxTimestamp, type InputRecord, type OutputRecord } from './record.ts';

/** Every way in which the library itself fails. */
export type StreamsErrorCode =
  /** The builder was used wrongly: fix the program. */
  | 'INVALID_TOPOLOGY'
  /** A KafkaStreams cannot start in its present state, or an option is unusable. */
  | 'INVALID_CONFIG'
  /** Topics are missing, or their partition counts or cleanup policies do not fit. */
  | 'INVALID_TOPICS'
  /** Stores hold state but the group has no offsets: reading from the beginning would apply records twice. */
  | 'STATE_WITHOUT_OFFSETS'
  /** A changelog holds a batch that cannot be decoded, so the state cannot be restored. */
  | 'CORRUPT_STATE'
  /** The cluster is too old, or did not answer at start. */
  | 'UNUSABLE_CLUSTER'
  /** An error handler answered `fail` for a record: fix what the message names, then start again. */
  | 'HANDLER_FAILED'
  /** The broker refuses a batch for a reason that lies in none of its records: fix what its text names. */
  | 'BATCH_REFUSED'
  /** Records were deleted that must not be passed over: begin anew, with the state of another start. */
  | 'START_AGAIN'
  /** Another live process has the same instance id, and so the same transactional id. */
  | 'INSTANCE_ID_TAKEN'
  /** The allowed number of recoveries passed without a commit: see the cause. */
  | 'RECOVERIES_EXHAUSTED'
  /** An assumption of the code does not hold; continuing could lose or repeat records. */
  | 'INVARIANT';

/** The library cannot continue; `code` says why, the message what to do. */
export class StreamsError extends Error {
  override readonly name = 'StreamsError';
  readonly code: StreamsErrorCode;
  constructor(code: StreamsErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** What an error handler answers: as in Kafka Streams, with dead-lettering as an answer of its own. */
export type ErrorResponse = 'continue' | 'deadLetter' | 'fail';

/** Why a record failed. Carries codes, field paths and positions only, never content. */
export interface RecordFailure {
  /** Where it failed: reading bytes, in an operator, or by the broker's refusal of an output. */
  readonly seam: 'deserialization' | 'processing' | 'production';
  /** Stable, in capitals: `NOT_JSON`, `MISSING_USER_ID`, `MESSAGE_TOO_LARGE`. */
  readonly code: string;
  /** Safe to log: this program's own words. */
  readonly message: string;
  /** Stack frames without the message line, which might quote the record. */
  readonly stack: string;
  /** The operator that failed. */
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

/** Kafka Streams' header names for dead letters (KIP-1034), and one for the operator's name. */
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

/**
 * The dead letter of `record`: its key, value, headers and timestamp, and the failure in further headers. It can be
 * written whatever the record is: a timestamp that no client could write becomes the nearest that one can.
 */
export function deadLetter(topic: string, record: InputRecord, failure: RecordFailure): OutputRecord {
  const text = (value: string): Buffer => Buffer.from(value, 'utf8');
  return {
    topic,
    partition: record.partition,
    timestamp: Math.max(-maxTimestamp, Math.min(record.timestamp, maxTimestamp)),
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

/** The refusal of a dead letter: Kafka's name of the reason, and when, in epoch milliseconds. */
export interface RefusedLetter {
  readonly reason: string;
  readonly atMs: number;
}

/** Longer keys are left out of the smallest dead letter. */
const maxKeyBytes = 1024;

/**
 * The smallest dead letter of `record`, for a dead-letter topic that has refused the whole one: what failed and where
 * the record is, without its value and headers, and with a timestamp that the topic takes.
 */
export function smallestDeadLetter(
  topic: string,
  record: InputRecord,
  failure: RecordFailure,
  refused: RefusedLetter,
): OutputRecord {
  const { key, timestamp } = record;
  const without = `without value and headers, because the broker refused the whole dead letter: ${refused.reason}`;
  return deadLetter(
    topic,
    {
      ...record,
      key: key === null || key.length > maxKeyBytes ? null : key,
      value: null,
      headers: {},
      timestamp: refused.reason === 'INVALID_TIMESTAMP' ? refused.atMs : timestamp,
    },
    { ...failure, message: `${failure.message}; ${without}` },
  );
}

/**
 * The frames of an error's stack down to the operator, with file names but no directories: a dead letter does not reveal
 * where the program is installed, and is the same on every machine and in every chunk of a transaction. The message before the frames may quote the record, even in lines
 * that look like frames; when the message cannot be separated from the frames, the result is empty.
 */
export function stackFrames(error: unknown): string {
  if (!(error instanceof Error) || error.stack === undefined) return '';
  const message = error.stack.indexOf(error.message);
  if (message === -1) return '';
  const frames = error.stack.slice(message + error.message.length).split('\n');
  // Who calls the processor differs between the first chunk of a transaction and the others, and between runtimes.
  const caller = frames.findIndex((line) => line.includes(' RecordProcessor.process '));
  return frames
    .slice(0, caller === -1 ? undefined : caller)
    .filter((line) => /^\s+at /.test(line) && !line.includes('node:'))
    .map((line) => line.replace(/[^\s(]*[/\\]/g, ''))
    .join('\n');
}
