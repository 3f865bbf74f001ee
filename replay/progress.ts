import cliProgress from 'cli-progress';

/** How far a command has come. */
export interface Progress {
  /** Adds records to what is done. */
  add(records: number): void;
  /** Adds records to the total, which may become known bit by bit. */
  expect(records: number): void;
  stop(): void;
}

/**
 * Shows records done, their rate and the time left on a terminal; nothing elsewhere. It writes to standard error, so that
 * it does not change the output of a command.
 */
export function progressBar(
  label: string,
  total: number,
  stream: NodeJS.WriteStream = process.stderr,
): Progress {
  if (!stream.isTTY) return { add: () => undefined, expect: () => undefined, stop: () => undefined };
  const startedAt = performance.now();
  let done = 0;
  let all = total;
  const bar = new cliProgress.SingleBar({
    format: `${label} {bar} {percentage}% | {value}/{total} records | {rate}/s | {left} left`,
    stream,
    hideCursor: true,
    clearOnComplete: true,
    fps: 5,
  });
  const payload = (): { rate: string; left: string } => {
    const rate = done / Math.max(0.001, (performance.now() - startedAt) / 1_000);
    return { rate: rate.toFixed(0), left: rate === 0 ? '?' : duration((all - done) / rate) };
  };
  bar.start(all, 0, payload());
  return {
    add(records) {
      done += records;
      bar.update(Math.min(done, all), payload());
    },
    expect(records) {
      all += records;
      bar.setTotal(all);
    },
    stop: () => bar.stop(),
  };
}

/** Seconds as people say them: `45 s`, `3 min`, `2.5 h`. */
function duration(seconds: number): string {
  if (seconds < 90) return `${Math.max(0, seconds).toFixed(0)} s`;
  if (seconds < 5_400) return `${(seconds / 60).toFixed(0)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}
