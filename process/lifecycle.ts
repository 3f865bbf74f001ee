import { within } from './deadline.ts';

/**
 * A long-running part of a process, after its start. The caller of the start function owns it: it calls `stop` and
 * watches `failed`.
 */
export interface Running {
  /**
   * Drains and releases everything within the deadlines of its steps. Rejects, after all steps, when one of them failed or
   * took too long. Called again, answers the same promise.
   */
  stop(): Promise<void>;
  /** Rejects with the reason when the part cannot continue; never resolves. */
  readonly failed: Promise<never>;
}

/** Passed to a part while it starts. */
export interface Service {
  /**
   * Registers a step of stop(). Steps run one after the other, the last registered first; each is abandoned after
   * `deadlineMs` (default 10,000). A step that fails does not keep the others from running.
   */
  onStop(step: () => unknown, deadlineMs?: number): void;
  /** Reports that the part cannot continue. */
  fail(error: unknown): void;
  /** Rejects after fail(). */
  readonly failed: Promise<never>;
  /** Aborted at the beginning of stop(). */
  readonly stopping: AbortSignal;
}

/**
 * Starts a part; everything long-running starts and stops this way. When `start` rejects, the steps registered so far run
 * first, so that nothing stays open.
 * @returns the result of `start`, with `stop` and `failed`.
 */
export async function startService<T extends object>(
  start: (service: Service) => Promise<T> | T,
): Promise<T & Running> {
  const steps: { step: () => unknown; deadlineMs: number }[] = [];
  const stopping = new AbortController();
  const { failed, fail } = failure();
  let stopped: Promise<void> | undefined;
  const runSteps = async (): Promise<void> => {
    stopping.abort();
    const errors: unknown[] = [];
    for (const { step, deadlineMs } of steps.splice(0).reverse()) {
      const stepped = (async () => {
        await step();
      })();
      await within(stepped, deadlineMs, 'a step of the stop').catch((error: unknown) => errors.push(error));
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, errors.map(String).join('; '));
  };
  const stop = (): Promise<void> => (stopped ??= runSteps());
  try {
    const part = await start({
      onStop: (step, deadlineMs = 10_000) => void steps.push({ step, deadlineMs }),
      fail,
      failed,
      stopping: stopping.signal,
    });
    return Object.assign(part, { stop, failed });
  } catch (error) {
    // The reason why it did not start matters more than a failure after it.
    await stop().catch(() => undefined);
    throw error;
  }
}

/** Creates a `failed` promise and its reject function. An unwatched rejection does not end the process. */
export function failure(): { readonly failed: Promise<never>; readonly fail: (error: unknown) => void } {
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  failed.catch(() => undefined);
  return { failed, fail };
}
