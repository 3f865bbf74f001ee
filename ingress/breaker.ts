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
  readonly counts: (error: unknown) => boolean;
  readonly onOpen?: () => void;
  readonly onClose?: () => void;
}): Breaker {
  const { openMs, failures = 5, counts } = options;
  let inARow = 0;
  /** On the monotonic clock: the wall clock may step. */
  let trialAtMs: number | undefined;
  let trial: Promise<unknown> | undefined;

  function retryAfterMs(): number {
    return trialAtMs === undefined ? 0 : Math.max(0, trialAtMs - performance.now());
  }
  async function run<T>(work: () => Promise<T>): Promise<T> {
    if (trial !== undefined) await trial.catch(() => undefined);
    if (retryAfterMs() > 0) throw new Error('the breaker is open');
    const call = work();
    if (trialAtMs !== undefined) trial = call;
    try {
      const result = await call;
      inARow = 0;
      if (trial === call) close();
      return result;
    } catch (error) {
      if (!counts(error)) {
        // The broker answered.
        if (trial === call) close();
      } else if ((inARow += 1) >= failures || trial === call) open(trial === call);
      throw error;
    } finally {
      if (trial === call) trial = undefined;
    }
  }
  function open(isTrial: boolean): void {
    if (trialAtMs !== undefined && !isTrial) return;
    trialAtMs = performance.now() + openMs;
    options.onOpen?.();
  }
  function close(): void {
    inARow = 0;
    trialAtMs = undefined;
    options.onClose?.();
  }
  return {
    get state() {
      if (trialAtMs === undefined) return 'closed';
      return retryAfterMs() > 0 ? 'open' : 'half_open';
    },
    retryAfterMs,
    run,
  };
}
