/** Waiting for another server, such as the database, while it does not answer. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../process/log.ts';

/** Tracks the outages of a server; each is logged once at its beginning and once at its end. */
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
      since = performance.now();
      onChange(false);
      log.warn({ code }, `${what} does not answer: holding the position until it does`);
    },
    cameBack() {
      if (since === undefined) return;
      log.info({ downSeconds: Math.round((performance.now() - since) / 1000) }, `${what} is back`);
      since = undefined;
      onChange(true);
    },
  };
}

/**
 * Retries `attempt` until it succeeds, with growing pauses of at most 2 s. Only outages are retried: `codeOf` returns a
 * code for the log for them, and undefined for errors to rethrow.
 * @returns the result of `attempt`, or `undefined` when `stop` was aborted meanwhile.
 */
export async function untilBack<T>(
  attempt: () => Promise<T>,
  options: {
    outage: Outage;
    codeOf: (error: unknown) => string | undefined;
    stop: AbortSignal;
  },
): Promise<{ value: T } | undefined> {
  for (let pauseMs = 50; !options.stop.aborted; pauseMs = Math.min(pauseMs * 2, 2_000)) {
    try {
      const value = await attempt();
      options.outage.cameBack();
      return { value };
    } catch (error) {
      const code = options.codeOf(error);
      if (code === undefined) throw error;
      options.outage.wentDown(code);
    }
    await sleep(pauseMs, undefined, { signal: options.stop }).catch(() => undefined);
  }
  return undefined;
}
