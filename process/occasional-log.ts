import type { Logger } from './log.ts';

/** The least time between two lines about the same thing. */
const quietMs = 10_000;

/**
 * Warns of what may happen very often: at most one line in ten seconds for each combination of `fields`, with the
 * number of times since the last. A flood of bad records must not become a flood of lines. The combinations are to
 * be few: they are remembered.
 */
export function occasionalLog(
  log: Pick<Logger, 'warn'>,
  message: string,
  now: () => number = Date.now,
): (fields: Readonly<Record<string, string>>) => void {
  const seen = new Map<string, { quietUntil: number; count: number }>();
  return (fields) => {
    const key = Object.values(fields).join(' ');
    const entry = seen.get(key) ?? { quietUntil: 0, count: 0 };
    seen.set(key, entry);
    entry.count += 1;
    if (now() < entry.quietUntil) return;
    log.warn({ ...fields, count: entry.count }, message);
    entry.quietUntil = now() + quietMs;
    entry.count = 0;
  };
}
