import type { Stall } from './progress.ts';

/** How often to look for stalls. */
const watchMs = 1_000;

interface WatchOptions {
  /** What is stalled now. */
  readonly stalls: () => readonly Stall[];
  /** Called with it every second, for the metrics. */
  readonly onStalls: (stalls: readonly Stall[]) => void;
  readonly log: { error(fields: object, message: string): void };
}

/**
 * Reports stalls to log and metrics, whether or not a probe is asked. A line of the log for each, whenever
 * they are others than before.
 * @returns what ends it.
 */
export function watchStalls({ stalls, onStalls, log }: WatchOptions): () => void {
  let reported = '';
  const timer = setInterval(() => {
    const now = stalls();
    onStalls(now);
    const names = now.map(({ topic, partition, reason }) => `${reason} ${topic} ${partition}`).join();
    if (names !== reported) {
      for (const { topic, partition, reason, stalledMs } of now)
        log.error({ topic, partition, reason, stalledMs: Math.round(stalledMs) }, 'nothing moves');
    }
    reported = names;
  }, watchMs).unref();
  return () => clearInterval(timer);
}
