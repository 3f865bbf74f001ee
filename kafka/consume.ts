import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../process/log.ts';

/** A part that is needed, may be away, and comes back: logged once when it goes and once when it returns. */
export interface Outage {
  isDown(): boolean;
  wentDown(code: string): void;
  cameBack(): void;
}

/** @param what - for the log: `the database`. */
export function outage(
  what: string,
  log: Logger,
  onChange: (isUp: boolean) => void = () => undefined,
): Outage {
  let since: number | undefined;
  return {
    isDown: () => since !== undefined,
    wentDown(code) {
      if (since !== undefined) return;
      since = Date.now();
      onChange(false);
      log.warn({ code }, `${what} does not answer: holding the position until it does`);
    },
    cameBack() {
      if (since === undefined) return;
      log.info({ downSeconds: Math.round((Date.now() - since) / 1000) }, `${what} is back`);
      since = undefined;
      onChange(true);
    },
  };
}

/**
 * Waits for `work` while `beat` is called about twice a second, so that a slow or absent part costs neither the
 * membership in the group nor its partitions.
 * Rejects with what `beat` rejects with, at once: `work` must be harmless when it completes later.
 */
export async function whileBeating<T>(work: Promise<T>, beat: () => Promise<void>): Promise<T> {
  const done = new AbortController();
  const settled = work.then(
    () => done.abort(),
    () => done.abort(),
  );
  for (;;) {
    await Promise.race([settled, sleep(beatMs, undefined, { signal: done.signal }).catch(() => undefined)]);
    if (done.signal.aborted) return work;
    await beat();
  }
}

/**
 * Does `attempt` until it succeeds, with growing pauses of at most 2 s between failures that `codeOf` knows as an
 * outage (it answers a code for the log); any other failure is passed on.
 * @returns what `attempt` answered, or `undefined` when `stop` was aborted meanwhile.
 */
export async function untilBack<T>(
  attempt: () => Promise<T>,
  options: {
    outage: Outage;
    codeOf: (error: unknown) => string | undefined;
    beat: () => Promise<void>;
    stop: AbortSignal;
  },
): Promise<{ value: T } | undefined> {
  for (let pauseMs = 50; !options.stop.aborted; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    try {
      const value = await whileBeating(attempt(), options.beat);
      options.outage.cameBack();
      return { value };
    } catch (error) {
      const code = options.codeOf(error);
      if (code === undefined) throw error;
      options.outage.wentDown(code);
    }
    await whileBeating(
      sleep(pauseMs, undefined, { signal: options.stop }).catch(() => undefined),
      options.beat,
    );
  }
  return undefined;
}

const beatMs = 500;
