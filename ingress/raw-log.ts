import { isTooLarge, type Appended as AppendOutcome, type AppendRecord } from '../kafka/append-batch.ts';
import { Appender, type AppenderOptions } from '../kafka/append.ts';
import type { Logger } from '../process/log.ts';
import { createBreaker, type Breaker } from './breaker.ts';

/** The outcome of a webhook's record. Only `acknowledged` means that it is in the log. */
export type Appended = Exclude<AppendOutcome, 'not_sent'> | 'breaker_open';

export interface RawLogOptions extends Omit<AppenderOptions, 'gate' | 'log'> {
  readonly breakerOpenMs: number;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly onBreakerOpen?: () => void;
}

export interface AppendOptions {
  readonly deadlineMs: number;
  /** Called at most once, when the record has to wait for a broker that does not answer. */
  readonly onHeldUp?: () => void;
}

/** Appends to the raw topics. */
export interface RawLog {
  /** Resolves once the broker has acknowledged the record, or with the reason why not. Never rejects. */
  append(record: AppendRecord, options: AppendOptions): Promise<Appended>;
  readonly breaker: Pick<Breaker, 'state' | 'retryAfterMs'>;
  /** Whether the last send to each broker, if any, was acknowledged. */
  readonly healthy: boolean;
  /** Connects before the first record; a failure is reported by that record. */
  warmUp(): Promise<void>;
  /** Refuses new records, sends the waiting ones and disconnects, each within `deadlineMs`. */
  close(deadlineMs: number): Promise<void>;
}

/** Creates an appender behind a circuit breaker: while no broker takes records, webhooks are refused at once. */
export function createRawLog(options: RawLogOptions): RawLog {
  const { log, breakerOpenMs } = options;
  const breaker = createBreaker({
    openMs: breakerOpenMs,
    // Senders control sizes. A refused timestamp counts, because our own clock would be wrong.
    isAnswer: isTooLarge,
    isDown: () => appender.isDown,
    onOpen: () => {
      log.error(
        { openMs: breakerOpenMs },
        'the breaker is open: webhooks are refused until a trial succeeds',
      );
      options.onBreakerOpen?.();
    },
    onClose: () => log.info('the breaker is closed again'),
  });
  const appender = new Appender({
    ...options,
    gate: {
      isClosed: () => breaker.retryAfterMs() > 0,
      run: (send) => breaker.run(send),
      hurry: () => breaker.hurry(),
    },
  });
  return {
    async append(record, appendOptions) {
      const outcome = await appender.append(record, appendOptions);
      return outcome === 'not_sent' ? 'breaker_open' : outcome;
    },
    breaker,
    get healthy() {
      return appender.isHealthy;
    },
    warmUp: () => appender.warmUp(),
    close: (deadlineMs) => appender.close(deadlineMs),
  };
}
