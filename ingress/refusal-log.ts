import type { Logger } from '../process/log.ts';

/**
 * Logs refused webhooks by device and reason, at most one line for each in ten seconds, with the number of those
 * since the last: a flood of bad requests must not become a flood of lines. Devices and reasons are bounded.
 */
export function refusalLog(
  log: Pick<Logger, 'warn'>,
  now: () => number,
): (device: string, code: string) => void {
  const seen = new Map<string, { quietUntil: number; count: number }>();
  return (device, code) => {
    const key = `${device} ${code}`;
    const entry = seen.get(key) ?? { quietUntil: 0, count: 0 };
    seen.set(key, entry);
    entry.count += 1;
    if (now() < entry.quietUntil) return;
    log.warn({ device, code, count: entry.count }, 'webhooks refused');
    entry.quietUntil = now() + quietMs;
    entry.count = 0;
  };
}

const quietMs = 10_000;
