import { circuitBreaker, ConsecutiveBreaker, handleWhen } from 'cockatiel';

/** Stops asking a broker that does not answer: while open, nothing is sent, then one send is the trial. */
export interface Breaker {
  readonly state: 'closed' | 'open' | 'half_open';
  /** Ms until the next trial; 0 unless open. */
  retryAfterMs(): number;
  /** Runs `work` unless open. Rejects with whatever `work` rejects with. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

/**
 * A breaker that opens after `failures` (5) failures in a row.
 * @param options.counts - whether a failure is the broker's: what a stranger can provoke must not count.
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
