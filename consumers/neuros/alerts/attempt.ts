/** One call of a handler. */
import type { AlertAttempt } from './alerts.ts';

export type Handler = (attempt: AlertAttempt) => Promise<void>;

/**
 * Calls a handler and waits for it, but not beyond the signal: a handler that ignores it goes on by itself.
 * @throws what the handler throws, or the signal's reason.
 */
export async function callHandler(handler: () => unknown, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  let stop: (() => void) | undefined;
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal?.addEventListener('abort', stop, { once: true });
  });
  // Promise.race also takes the later outcome of the handler, so that it is no unhandled rejection.
  const work = Promise.resolve().then(handler);
  try {
    await Promise.race([work, aborted]);
    signal?.throwIfAborted();
  } finally {
    if (stop !== undefined) signal?.removeEventListener('abort', stop);
  }
}
