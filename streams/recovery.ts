import { StreamsError } from './errors.ts';
import { kafkaErrorType } from '../kafka/client.ts';

/** Recoveries further apart than this have nothing to do with each other. */
const quietMs = 600_000;
/** Refusals that concern a record itself: sending it again cannot help. */
const refusals = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_TIMESTAMP',
  'INVALID_RECORD',
  'CORRUPT_MESSAGE',
]);
/** The group has moved on without us: our offsets are refused, the next join tells what is ours. */
const lostMembership = new Set([
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
  'REBALANCE_IN_PROGRESS',
]);

/** What a failure means for the thread. */
export interface Failure {
  /** Kafka's name of it, or the error's class. */
  readonly reason: string;
  /** `expelled`: another generation has begun; `refused`: a record cannot be written; `broken`: anything else. */
  readonly kind: 'expelled' | 'refused' | 'broken';
  /** How long to wait before going on. */
  readonly pauseMs: number;
  /** Failures of health in a row, this one included. */
  readonly recoveries: number;
}

/** Judges failures, and when there were enough of them. */
export class RecoveryPolicy {
  readonly #maxRecoveries: number;
  #recoveries = 0;
  #lastAt = 0;

  constructor(maxRecoveries: number) {
    this.#maxRecoveries = maxRecoveries;
  }

  /** A transaction was committed: all is well. */
  onCommit(): void {
    this.#recoveries = 0;
  }

  /**
   * Says what a failure is.
   * @throws the error itself when it is a StreamsError, which no repetition mends; StreamsError RECOVERIES_EXHAUSTED.
   */
  judge(error: unknown, inTransaction: boolean): Failure {
    if (error instanceof StreamsError) throw error;
    const reason = kafkaErrorType(error) ?? (error instanceof Error ? error.name : 'unknown');
    const kind = lostMembership.has(reason)
      ? 'expelled'
      : inTransaction && refusals.has(reason)
        ? 'refused'
        : 'broken';
    if (performance.now() - this.#lastAt > quietMs) this.#recoveries = 0;
    this.#lastAt = performance.now();
    // To be expelled is the ordinary end of a transaction that a rebalance overtook, and a refusal is about a record:
    // neither says anything of our health, and neither can go on for ever.
    if (kind === 'broken') this.#recoveries += 1;
    if (this.#recoveries > this.#maxRecoveries) {
      throw new StreamsError(
        'RECOVERIES_EXHAUSTED',
        `${this.#maxRecoveries} recoveries in a row without a commit, the last after ${reason}: check that the brokers ` +
          'can be reached and that no other process has the same INSTANCE_ID, then start again',
        { cause: error },
      );
    }
    const pauseMs = this.#recoveries > 1 ? Math.min(100 * 2 ** (this.#recoveries - 2), 5_000) : 0;
    return { reason, kind, pauseMs, recoveries: this.#recoveries };
  }
}
