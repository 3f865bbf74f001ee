import { StreamsError } from './errors.ts';
import { RefusedError } from './refusals.ts';
import { kafkaErrorType } from '../kafka/client.ts';
import { isGenerationOver } from '../kafka/group.ts';

/** Recoveries further apart than this are counted separately. */
const quietMs = 600_000;
/** What a failure means for the thread. */
export interface Failure {
  /** Kafka's name of the error, or its class. */
  readonly reason: string;
  /** `expelled`: another generation has begun; `refused`: a record cannot be written; `broken`: anything else. */
  readonly kind: 'expelled' | 'refused' | 'broken';
  /** How long to wait before the next round. */
  readonly pauseMs: number;
  /** Failures of the kind `broken` in a row, this one included. */
  readonly recoveries: number;
}

/** Classifies failures, and decides when there were too many. */
export class RecoveryPolicy {
  readonly #maxRecoveries: number;
  #recoveries = 0;
  #lastAt = 0;

  constructor(maxRecoveries: number) {
    this.#maxRecoveries = maxRecoveries;
  }

  /** Resets the count after a commit. */
  onCommit(): void {
    this.#recoveries = 0;
  }

  /**
   * Classifies a failure.
   * @throws the error itself when it is a StreamsError, which repeating does not fix; StreamsError
   *   RECOVERIES_EXHAUSTED.
   */
  judge(error: unknown): Failure {
    if (error instanceof StreamsError) throw error;
    const reason = kafkaErrorType(error) ?? (error instanceof Error ? error.name : 'unknown');
    const kind = isGenerationOver(error) ? 'expelled' : error instanceof RefusedError ? 'refused' : 'broken';
    if (performance.now() - this.#lastAt > quietMs) this.#recoveries = 0;
    this.#lastAt = performance.now();
    // A rebalance that overtakes a transaction is normal, and a refusal concerns a record: neither says anything about
    // the health of the instance, and neither can repeat for ever.
    if (kind === 'broken') this.#recoveries += 1;
    if (this.#recoveries > this.#maxRecoveries) {
      throw new StreamsError(
        'RECOVERIES_EXHAUSTED',
        `${this.#maxRecoveries} recoveries in a row without a commit, the last after ${reason}: check that the brokers ` +
          'are reachable and that no other process has the same INSTANCE_ID, then start again',
        { cause: error },
      );
    }
    const pauseMs = this.#recoveries > 1 ? Math.min(100 * 2 ** (this.#recoveries - 2), 5_000) : 0;
    return { reason, kind, pauseMs, recoveries: this.#recoveries };
  }
}
