/** The shortest time between two lines with the same fields. */
const quietMs = 10_000;

/**
 * Creates a rate-limited warning, so that a flood of bad records does not flood the log: at most one line in ten seconds
 * for each combination of `fields`, with the number of calls since the last, and the `details` of this call. All
 * combinations are remembered: keep them few.
 */
export function occasionalLog(
  log: { warn(fields: object, message: string): void },
  message: string,
  now: () => number = () => performance.now(),
): (fields: Readonly<Record<string, string>>, details?: object) => void {
  const seen = new Map<string, { quietUntil: number; count: number }>();
  return (fields, details) => {
    const key = Object.values(fields).join(' ');
    const entry = seen.get(key) ?? { quietUntil: 0, count: 0 };
    seen.set(key, entry);
    entry.count += 1;
    if (now() < entry.quietUntil) return;
    log.warn({ ...fields, ...details, count: entry.count }, message);
    entry.quietUntil = now() + quietMs;
    entry.count = 0;
  };
}
