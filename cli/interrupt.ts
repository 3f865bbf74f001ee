import { Interrupted } from '../replay/exit.ts';

/**
 * Runs a command that SIGINT or SIGTERM ends in order: the signal that it is given is aborted with an Interrupted. A second one,
 * a second or more later, ends the process at once.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interruption = new AbortController();
  let firstAt: number | undefined;
  const onSignal = (): void => {
    // npm forwards the SIGINT that the terminal has also sent to us: count the two as one.
    if (firstAt !== undefined && performance.now() - firstAt < 1_000) return;
    if (firstAt !== undefined) process.exit(130);
    firstAt = performance.now();
    interruption.abort(new Interrupted());
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  try {
    return await work(interruption.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
