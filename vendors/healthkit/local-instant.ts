import { dayMs, digits, parseInstant } from '../instant.ts';
import { plainText } from './plain-text.ts';

/** A time of the export: the instant, and the local clock and calendar of the person. */
export interface LocalInstant {
  readonly epochMs: number;
  /** Minutes that the local clock is ahead of UTC; null where the text names no zone and UTC was assumed. */
  readonly offsetMinutes: number | null;
  /** The calendar day as the text has it, YYYY-MM-DD: no conversion may move it. */
  readonly date: string;
  /** The same day as a number, days since 1970-01-01. */
  readonly day: number;
  /** Milliseconds that the local clock is past midnight. */
  readonly msOfDay: number;
}

/**
 * Reads a date of Health Auto Export, `yyyy-MM-dd HH:mm:ss Z`, as the phone's locale and settings write it: with hours of
 * one digit (`2026-06-10 6:31:10 -0700`), by the 12-hour clock (`6:31:10 pm`, `6:31:10 p.m.`, in any case, after any space),
 * with the digits of another script. Also RFC 3339, without zone, or a bare date, both taken as UTC.
 *
 * Null for anything else, and for what could be another date: other words for am and pm, and years before 2000 or after
 * 2400, which phones write that count by the Buddhist, the Islamic or an emperor's calendar.
 */
export function parseLocalInstant(text: unknown): LocalInstant | null {
  if (typeof text !== 'string') return null;
  const common = commonForm(text);
  if (common !== null) return common;
  const plain = plainText(text);
  return plain === null ? null : (clockForm(plain) ?? isoForm(plain));
}

/** `2026-06-10 06:31:10 -0700`, the form of nearly all points, in a third of the time. Null for anything else. */
function commonForm(text: string): LocalInstant | null {
  if (text.length !== 25 || text[10] !== ' ' || text[19] !== ' ') return null;
  const sign = text[20] === '-' ? -1 : text[20] === '+' ? 1 : 0;
  const hours = digits(text, 21, 23);
  const minutes = digits(text, 23, 25);
  // NaN, for what are no digits, is not less than anything.
  if (sign === 0 || !(hours <= 23 && minutes <= 59)) return null;
  return onClock(text.slice(0, 10), text.slice(11, 19), sign * (hours * 60 + minutes));
}

const clock =
  /^(\d{4}-\d\d-\d\d)[ Tt](\d\d?)(:\d\d:\d\d)(?: ?([AaPp])(?:[Mm]|\. ?[Mm]\.))?(?: ?(?:([+-])(\d\d):?(\d\d)|[Zz]))?$/;

/** `2026-06-10 6:31:10 pm -0700`, by the 12-hour clock or by that of 24 hours. */
function clockForm(text: string): LocalInstant | null {
  const parts = clock.exec(text);
  if (parts === null) return null;
  const [, date = '', hourText = '', rest = '', half, sign, zoneHours, zoneMinutes] = parts;
  const hour = half === undefined ? Number(hourText) : hourOf(Number(hourText), half);
  if (hour === null) return null;
  const time = `${String(hour).padStart(2, '0')}${rest}`;
  if (sign === undefined) return onClock(date, time, /z$/i.test(text) ? 0 : null);
  const [hours, minutes] = [Number(zoneHours), Number(zoneMinutes)];
  if (hours > 23 || minutes > 59) return null;
  return onClock(date, time, (sign === '-' ? -1 : 1) * (hours * 60 + minutes));
}

/** The hour of the day: of the 12-hour clock, twelve comes before one. */
function hourOf(hour: number, half: string): number | null {
  if (hour < 1 || hour > 12) return null;
  return (hour % 12) + (half.toLowerCase() === 'p' ? 12 : 0);
}

/** A time on the local clock; null where there is no such day or time. */
function onClock(date: string, time: string, offsetMinutes: number | null): LocalInstant | null {
  const wall = parseInstant(`${date}T${time}Z`);
  return wall === null ? null : localInstant(wall.epochMs, offsetMinutes, date);
}

const zone = /([+-])(\d\d):?(\d\d)$/;

/** What other exporters write: RFC 3339, with fractions of seconds, without seconds, or a date alone. */
function isoForm(text: string): LocalInstant | null {
  const instant = parseInstant(text);
  if (instant === null) return null;
  const offsetMinutes = instant.zoneAssumed ? null : offsetOf(text);
  return localInstant(instant.epochMs + (offsetMinutes ?? 0) * 60_000, offsetMinutes, text.slice(0, 10));
}

function offsetOf(text: string): number {
  const [, sign, hours, minutes] = zone.exec(text) ?? [];
  return (sign === '-' ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0));
}

const firstWallMs = Date.UTC(2000, 0, 1);
const endWallMs = Date.UTC(2401, 0, 1);

/** @param wallMs - what the local clock shows, as if it were UTC. */
function localInstant(wallMs: number, offsetMinutes: number | null, date: string): LocalInstant | null {
  if (wallMs < firstWallMs || wallMs >= endWallMs) return null;
  const day = Math.floor(wallMs / dayMs);
  return {
    epochMs: wallMs - (offsetMinutes ?? 0) * 60_000,
    offsetMinutes,
    date,
    day,
    msOfDay: wallMs - day * dayMs,
  };
}
