import { dayMs, digits, parseInstant } from '../instant.ts';

/** A time of the export: the instant, and the local clock and calendar of the person. */
export interface LocalInstant {
  readonly epochMs: number;
  /** Minutes that the local clock is ahead of UTC; null where the text names no zone and UTC was assumed. */
  readonly offsetMinutes: number | null;
  /** The calendar day as the text has it, YYYY-MM-DD: no conversion may move it. */
  readonly date: string;
  /** The same day as a number, days since 1970-01-01. */
  readonly day: number;
}

const zone = /[ \d]([+-])(\d\d):?(\d\d)$/;

/**
 * Reads Health Auto Export's `yyyy-MM-dd HH:mm:ss Z` (`2026-06-10 06:31:10 -0700`), and RFC 3339, also without zone or as
 * a bare date. Null for anything else; 12-hour times have never been seen.
 */
export function parseLocalInstant(text: unknown): LocalInstant | null {
  if (typeof text !== 'string') return null;
  const common = commonForm(text);
  if (common !== null) return common;
  const instant = parseInstant(text);
  if (instant === null) return null;
  const offsetMinutes = instant.zoneAssumed ? null : offsetOf(text);
  const wallMs = instant.epochMs + (offsetMinutes ?? 0) * 60_000;
  return {
    epochMs: instant.epochMs,
    offsetMinutes,
    date: text.slice(0, 10),
    day: Math.floor(wallMs / dayMs),
  };
}

/** `2026-06-10 06:31:10 -0700`, the form of nearly all points, in a third of the time. Null for anything else. */
function commonForm(text: string): LocalInstant | null {
  if (text.length !== 25 || text[10] !== ' ' || text[19] !== ' ') return null;
  const sign = text[20] === '-' ? -1 : text[20] === '+' ? 1 : 0;
  const hours = digits(text, 21, 23);
  const minutes = digits(text, 23, 25);
  // NaN, for what are no digits, is not less than anything.
  if (sign === 0 || !(hours <= 23 && minutes <= 59)) return null;
  const date = text.slice(0, 10);
  const wall = parseInstant(`${date}T${text.slice(11, 19)}Z`);
  if (wall === null) return null;
  const offsetMinutes = sign * (hours * 60 + minutes);
  const epochMs = wall.epochMs - offsetMinutes * 60_000;
  return { epochMs, offsetMinutes, date, day: Math.floor(wall.epochMs / dayMs) };
}

function offsetOf(text: string): number {
  const [, sign, hours, minutes] = zone.exec(text) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0));
}
