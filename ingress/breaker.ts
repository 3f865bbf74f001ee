/** A circuit breaker: while it is open nothing is sent; then one trial send decides whether it closes. */
export interface Breaker {
  readonly state: 'closed' | 'open' | 'half_open';
  /** Ms until the next trial at the latest; 0 unless open. */
  retryAfterMs(): number;
  /** Runs `work` and rejects with its error; waits for a trial under way, and rejects without running it while open. */
  run<T>(work: () => Promise<T>): Promise<T>;
  /** Makes a trial due now, if it is open. */
  hurry(): void;
}

/**
 * Creates a breaker that opens after `failures` (default 5) failures in a row that count.
 * @param options.isAnswer - whether a failure is an answer all the same: what a sender can provoke must not count.
 * @param options.isDown - whether a failure counts, because nothing else succeeds either.
 */
export function createBreaker(options: {
  readonly openMs: number;
  readonly failures?: number;
  readonly isAnswer: (error: unknown) => boolean;
  readonly isDown: () => boolean;
  readonly onOpen?: () => void;
  readonly onClose?: () => void;
}): Breaker {
  const { openMs, failures = 5, isAnswer, isDown } = options;
  let inARow = 0;
  /** On the monotonic clock: the wall clock may step. */
  let trialAtMs: number | undefined;
  let trial: Promise<unknown> | undefined;

  function retryAfterMs(): number {
    return trialAtMs === undefined ? 0 : Math.max(0, trialAtMs - performance.now());
  }
  async function run<T>(work: () => Promise<T>): Promise<T> {
    while (trial !== undefined) await trial.catch(() => undefined);
    if (retryAfterMs() > 0) throw new Error('the breaker is open');
    const call = work();
    if (trialAtMs !== undefined) trial = call;
    try {
      const result = await call;
      inARow = 0;
      if (trial === call) close();
      return result;
    } catch (error) {
      if (isAnswer(error)) {
        if (trial === call) close();
      } else if (trial === call) open();
      else if (isDown() && (inARow += 1) >= failures && trialAtMs === undefined) open();
      throw error;
    } finally {
      if (trial === call) trial = undefined;
    }
  }
  function open(): void {
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
    hurry() {
      if (trialAtMs !== undefined) trialAtMs = Math.min(trialAtMs, performance.now());
    },
  };
}
