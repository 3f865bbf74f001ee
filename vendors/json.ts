import { isAscii, isUtf8 } from 'node:buffer';
import {
  backslash,
  closeBrace,
  closeBracket,
  isDigit,
  jsonFault,
  maxContainers,
  maxDepth,
  minus,
  openBrace,
  openBracket,
  quote,
  type OnMember,
} from './json-scan.ts';

/** Why bytes are not JSON. */
export type JsonFault = 'empty' | 'not_utf8' | 'not_json' | 'too_complex';

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: JsonFault;
      /** The byte at which the text stops being JSON or exceeds the limits; the length when it ends too early. */
      readonly at: number;
    };

/**
 * Parses bytes as JSON (RFC 8259). Never throws; a fault has only a code and a byte position, because the engine's own
 * messages quote the input. A leading byte order mark is skipped, as the RFC permits; invalid UTF-8 is not JSON.
 *
 * Integers that a double cannot hold exactly become strings of their digits, because some vendors number their users with
 * 64 bits: 9007199254740993 must not become 9007199254740992. All other numbers are doubles (1e400 is Infinity, as in
 * JSON.parse: check with Number.isFinite where it matters).
 *
 * The work is bounded: a body of more than 1,000 levels, or 500,000 arrays and objects, is `too_complex`.
 */
export function parseJson(bytes: Buffer): ParsedJson {
  const isPlain = isAscii(bytes);
  if (!isPlain && !isUtf8(bytes)) return { ok: false, code: 'not_utf8', at: firstInvalidUtf8(bytes) };
  const start = afterMark(bytes);
  const limit = firstBeyondLimits(bytes);
  if (limit !== undefined) return { ok: false, code: 'too_complex', at: limit };
  // Latin-1 is copied; UTF-8 would be decoded.
  const text = bytes.toString(isPlain ? 'latin1' : 'utf8', start);
  const value = tryParse(text);
  if (value === invalid) {
    const at = jsonFault(bytes, start) ?? bytes.length;
    return { ok: false, code: at === bytes.length && text.trim() === '' ? 'empty' : 'not_json', at };
  }
  if (!hasLongDigits(bytes)) return { ok: true, value };
  const exact = tryParse(quoteLongIntegers(text));
  return { ok: true, value: exact === invalid ? value : exact };
}

/** Shorter texts are parsed faster than scanned. */
const shortBytes = 8 * 1024;

/**
 * Like `parseJson`, but reads only the named members of an object. Building the others would take several times as long
 * as scanning them, and several times the memory of the text.
 */
export function parseMembers(
  bytes: Buffer,
  names: readonly string[],
): { readonly ok: true; readonly value: unknown } | { readonly ok: false } {
  if (bytes.length < shortBytes) return parseJson(bytes);
  if (!isUtf8(bytes)) return { ok: false };
  const found = new Map<string, Buffer>();
  const onMember: OnMember = (nameStart, nameEnd, valueStart, valueEnd) => {
    const quoted = bytes.toString('utf8', nameStart, nameEnd);
    // A name may be written with escapes; of a repeated member the last counts.
    const name = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
    if (names.includes(name)) found.set(name, bytes.subarray(valueStart, valueEnd));
  };
  if (jsonFault(bytes, afterMark(bytes), onMember) !== undefined) return { ok: false };
  const members = [...found].map(([name, text]) => {
    const parsed = parseJson(text);
    return [name, parsed.ok ? parsed.value : undefined] as const;
  });
  return { ok: true, value: Object.fromEntries(members) };
}

/** The position after a byte order mark. */
function afterMark(bytes: Buffer): number {
  return bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
}

/**
 * The text of an identifier: a string as it is, an integer as its digits. Null for anything else, for an empty string,
 * and for what cannot be stored or compared everywhere: lone surrogates, U+0000 (Postgres refuses it) and texts over 256
 * characters, which no vendor uses.
 */
export function idText(value: unknown): string | null {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? String(value) : null;
  if (typeof value !== 'string' || value === '' || value.length > 256) return null;
  return loneSurrogate.test(value) || value.includes('\0') ? null : value;
}

const loneSurrogate = /\p{Cs}/u;
const invalid = Symbol('not JSON');
/** 2^53 has 16 digits: shorter integers are always exact. */
const longDigits = 16;

/** Whether `longDigits` digits occur in a row, even in a string. Each such run has a digit at a multiple of that length. */
function hasLongDigits(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += longDigits) {
    if (!isDigit(bytes[at])) continue;
    let first = at;
    while (isDigit(bytes[first - 1])) first -= 1;
    let end = at + 1;
    while (isDigit(bytes[end])) end += 1;
    if (end - first >= longDigits) return true;
  }
  return false;
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return invalid;
  }
}

/** Puts quotes around the integers that doubles cannot hold. The text is known to be valid JSON. */
function quoteLongIntegers(text: string): string {
  const pieces: string[] = [];
  let kept = 0;
  for (let at = 0; at < text.length;) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      at = afterString(text, at);
    } else if (code === minus || isDigit(code)) {
      const end = afterNumber(text, at);
      // JSON.parse has read integers of fewer than 16 digits exactly.
      if (end - at >= 16) {
        const token = text.slice(at, end);
        if (/^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token))) {
          pieces.push(text.slice(kept, at), '"', token, '"');
          kept = end;
        }
      }
      at = end;
    } else {
      at += 1;
    }
  }
  pieces.push(text.slice(kept));
  return pieces.join('');
}

function afterString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === backslash) at += 1;
    else if (code === quote) return at + 1;
  }
  return text.length;
}

function afterNumber(text: string, start: number): number {
  let at = start + 1;
  for (; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    // Digits and the signs, point and exponent marks that may follow them.
    if (!isDigit(code) && code !== minus && code !== 0x2b && code !== 0x2e && code !== 0x45 && code !== 0x65)
      break;
  }
  return at;
}

/** The position of the first byte that is not UTF-8. */
function firstInvalidUtf8(bytes: Buffer): number {
  const text = bytes.toString('utf8');
  // Decoding replaces invalid bytes by U+FFFD, which the bytes may also hold themselves.
  for (let from = 0, at = 0; ; from += 1, at += 3) {
    const found = text.indexOf('\ufffd', from);
    if (found === -1) return bytes.length;
    at += Buffer.byteLength(text.slice(from, found));
    if (bytes[at] !== 0xef || bytes[at + 1] !== 0xbf || bytes[at + 2] !== 0xbd) return at;
    from = found;
  }
}

/** The first bracket that exceeds a limit. Treats invalid JSON as if it were valid. */
function firstBeyondLimits(bytes: Buffer): number | undefined {
  // Too few brackets for either limit.
  if (bytes.length <= maxDepth || !hasMoreOpenings(bytes, maxDepth)) return undefined;
  let depth = 0;
  let containers = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === quote) {
      for (at += 1; at < bytes.length && bytes[at] !== quote; at += 1) if (bytes[at] === backslash) at += 1;
    } else if (byte === openBrace || byte === openBracket) {
      depth += 1;
      containers += 1;
      if (depth > maxDepth || containers > maxContainers) return at;
    } else if (byte === closeBrace || byte === closeBracket) {
      depth -= 1;
    }
  }
  return undefined;
}

/** Whether there are more opening brackets and braces than `limit`, those in strings included; stops counting there. */
function hasMoreOpenings(bytes: Buffer, limit: number): boolean {
  let count = 0;
  for (const opening of [openBrace, openBracket]) {
    for (let at = bytes.indexOf(opening); at !== -1; at = bytes.indexOf(opening, at + 1)) {
      count += 1;
      if (count > limit) return true;
    }
  }
  return false;
}
