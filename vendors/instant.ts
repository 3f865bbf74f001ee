/** Milliseconds per day. */
export const dayMs = 86_400_000;

/** An instant read from a payload. */
export interface Instant {
  readonly epochMs: number;
  /** The text names no zone, so UTC is assumed. */
  readonly zoneAssumed: boolean;
}

/** The last instant that a year of four digits has; readers in other languages know none after it. */
const lastMs = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const rfc3339 =
  /^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?([Zz]|[+-]\d\d:?\d\d)?)?$/;

/**
 * Reads an RFC 3339 text (also without zone, or a bare date, both taken as UTC) or an epoch number: 13 digits are
 * milliseconds, 10 are seconds. Null for anything else: days and hours that do not exist, and what an offset moves beyond the
 * year 9999, which no RFC 3339 text could say in UTC. A leap second counts as the second before it.
 */
export function parseInstant(value: unknown): Instant | null {
  if (typeof value === 'number') return fromEpoch(value);
  if (typeof value !== 'string') return null;
  const common = commonForm(value);
  if (common !== null) return { epochMs: common, zoneAssumed: false };
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
  // Date.UTC reads years below 100 as 19xx, when no wearable measured.
  if (y < 1900) return null;
  const epochMs = Date.UTC(y, mo - 1, d, h, mi, Math.min(s, 59), ms);
  const date = new Date(epochMs);
  // A day that does not exist rolls over into the next month.
  if (date.getUTCMonth() !== mo - 1 || date.getUTCDate() !== d) return null;
  const offset = zoneOffsetMs(zone);
  if (offset === null || epochMs - offset > lastMs) return null;
  return { epochMs: epochMs - offset, zoneAssumed: zone === undefined };
}

/**
 * Epoch ms of `2026-11-01T07:30:00Z`, also with three digits of milliseconds: the form of most payloads, read without a
 * regular expression. Null for anything else, which parseInstant then reads.
 */
function commonForm(text: string): number | null {
  const { length } = text;
  if ((length !== 20 && length !== 24) || text.charCodeAt(length - 1) !== 0x5a) return null;
  if (text[4] !== '-' || text[7] !== '-' || text[10] !== 'T' || text[13] !== ':' || text[16] !== ':')
    return null;
  if (length === 24 && text[19] !== '.') return null;
  const year = digits(text, 0, 4);
  const month = digits(text, 5, 7);
  const day = digits(text, 8, 10);
  const hour = digits(text, 11, 13);
  const minute = digits(text, 14, 16);
  const second = digits(text, 17, 19);
  const ms = length === 24 ? digits(text, 20, 23) : 0;
  // Days after the 28th, leap seconds and characters that are not digits (NaN) are left to parseInstant.
  if (!(year >= 1900 && month >= 1 && month <= 12 && day >= 1 && day <= 28)) return null;
  if (!(hour <= 23 && minute <= 59 && second <= 59 && ms <= 999)) return null;
  return Date.UTC(year, month - 1, day, hour, minute, second, ms);
}

/** The number that the digits from `from` to `to` make; NaN where one is no digit. */
export function digits(text: string, from: number, to: number): number {
  let number = 0;
  for (let at = from; at < to; at += 1) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return NaN;
    number = number * 10 + digit;
  }
  return number;
}

/** Judges a number by its size: the text of a double may have any number of digits, 1.2345e+25 has ten characters. */
function fromEpoch(value: number): Instant | null {
  if (value >= 1e12 && value < 1e13) return { epochMs: Math.trunc(value), zoneAssumed: false };
  if (value >= 1e9 && value < 1e10) return { epochMs: Math.round(value * 1_000), zoneAssumed: false };
  return null;
}

/** The milliseconds that local time at an offset `Z`, `+hh:mm` or `-hhmm` is ahead of UTC; null for anything else. */
export function offsetMs(offset: unknown): number | null {
  return typeof offset === 'string' && /^(?:[Zz]|[+-]\d\d:?\d\d)$/.test(offset) ? zoneOffsetMs(offset) : null;
}

function zoneOffsetMs(zone: string | undefined): number | null {
  if (zone === undefined || zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(-2));
  // RFC 3339 allows up to 23:59; real zones end at 14:00.
  if (hours > 23 || minutes > 59) return null;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

/** Formats an instant as Date.toISOString() does, in a tenth of the time: the text of the last day is kept. */
export function instantText(epochMs: number): string {
  const day = Math.floor(epochMs / dayMs);
  if (day !== lastDay) {
    lastDayText = new Date(day * dayMs).toISOString().slice(0, -13);
    lastDay = day;
  }
  const ms = epochMs - day * dayMs;
  const seconds = Math.floor(ms / 1_000);
  const minutes = Math.floor(seconds / 60);
  return `${lastDayText}${twoDigits[Math.floor(minutes / 60)] ?? ''}:${twoDigits[minutes % 60] ?? ''}:${twoDigits[seconds % 60] ?? ''}.${String(ms % 1_000).padStart(3, '0')}Z`;
}

const twoDigits = Array.from({ length: 60 }, (_, number) => String(number).padStart(2, '0'));
let lastDay = NaN;
let lastDayText = '';
