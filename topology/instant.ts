/** An instant read from a payload. */
export interface Instant {
  readonly epochMs: number;
  /** The text named no zone, so UTC was assumed. */
  readonly zoneAssumed: boolean;
}

const rfc3339 =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?([Zz]|[+-]\d\d:?\d\d)?)?$/;

/**
 * Reads an RFC 3339 text (also without zone, or a bare date, both taken as UTC) or an epoch number: 13 digits are
 * milliseconds, 10 are seconds. Null for anything else, days and hours that do not exist included. A leap second
 * counts as the second before it.
 */
export function parseInstant(value: unknown): Instant | null {
  if (typeof value === 'number') return fromEpoch(value);
  if (typeof value !== 'string') return null;
  const parts = rfc3339.exec(value);
  if (parts === null) return null;
  const [, year = '', month = '', day = '', hour = '0', minute = '0', second = '0', fraction = '', zone] =
    parts;
  const ms = Number(fraction.padEnd(3, '0').slice(0, 3));
  const [y, mo, d, h, mi, s] = [year, month, day, hour, minute, second].map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (h > 23 || mi > 59 || s > 60) return null;
  // Date.UTC reads years below 100 as 19xx, and no wearable measured then.
  if (y < 1900) return null;
  const epochMs = Date.UTC(y, mo - 1, d, h, mi, Math.min(s, 59), ms);
  const date = new Date(epochMs);
  // A day that does not exist rolls over into the next month.
  if (date.getUTCMonth() !== mo - 1 || date.getUTCDate() !== d) return null;
  const offset = zoneOffsetMs(zone);
  return offset === null ? null : { epochMs: epochMs - offset, zoneAssumed: zone === undefined };
}

function fromEpoch(value: number): Instant | null {
  const digits = String(Math.trunc(value)).length;
  if (!(value > 0) || (digits !== 13 && digits !== 10)) return null;
  return { epochMs: digits === 13 ? Math.trunc(value) : Math.round(value * 1_000), zoneAssumed: false };
}

function zoneOffsetMs(zone: string | undefined): number | null {
  if (zone === undefined || zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(-2));
  // RFC 3339 allows up to 23:59; the real world ends at 14:00.
  if (hours > 23 || minutes > 59) return null;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}
