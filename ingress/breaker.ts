import { circuitBreaker, ConsecutiveBreaker, handleWhen } from 'cockatiel';

/** A circuit breaker: while it is open nothing is sent; then one trial send decides whether it closes. */
export interface Breaker {
  readonly state: 'closed' | 'open' | 'half_open';
  /** Ms until the next trial; 0 unless open. */
  retryAfterMs(): number;
  /** Runs `work` and rejects with its error; rejects at once while open. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * Creates a breaker that opens after `failures` (default 5) failures in a row.
 * @param options.counts - whether the broker caused a failure: what an unauthenticated caller can provoke must not count.
 */
export function createBreaker(options: {
  readonly openMs: number;
  readonly failures?: number;
  readonly counts: (error: Error) => boolean;
  readonly onOpen?: () => void;
  readonly onClose?: () => void;
}): Breaker {
  const policy = circuitBreaker(handleWhen(options.counts), {
    halfOpenAfter: options.openMs,
    breaker: new ConsecutiveBreaker(options.failures ?? 5),
  });
  let trialAtMs: number | undefined;
  policy.onBreak(() => {
    trialAtMs = Date.now() + options.openMs;
    options.onOpen?.();
  });
  policy.onReset(() => {
    trialAtMs = undefined;
    options.onClose?.();
  });

  function retryAfterMs(): number {
    return trialAtMs === undefined ? 0 : Math.max(0, trialAtMs - Date.now());
  }
  return {
    get state() {
      if (trialAtMs === undefined) return 'closed';
      return retryAfterMs() > 0 ? 'open' : 'half_open';
    },
    retryAfterMs,
    run: (work) => policy.execute(work),
  };
}
