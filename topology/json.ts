import { isAscii, isUtf8 } from 'node:buffer';

/** Why bytes are not JSON. */
export type JsonFault = 'empty' | 'not_utf8' | 'not_json' | 'too_complex';

/** Arrays and objects within one another; RFC 8259, 9 lets a parser limit them. No vendor's bodies reach ten. */
const maxDepth = 1_000;
/**
 * Arrays and objects in all. Each costs the engine some hundred bytes and as many nanoseconds, so ten million brackets
 * would hold the process for seconds. A body of 10 MiB has room for 20 bytes to each; vendors' take 50 and more.
 */
const maxContainers = 500_000;

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: JsonFault;
      /** The byte at which the text stops being JSON or goes too far; their length when they end too early. */
      readonly at: number;
    };

/**
 * Parses bytes as JSON (RFC 8259). Never throws, and tells only code and byte position of a fault: the engine's
 * own messages quote the input. A leading byte order mark is skipped, as the RFC permits; invalid UTF-8 is not JSON.
 *
 * Integers that a double cannot hold exactly become strings of their digits, because some vendors number their
 * users with 64 bits: 9007199254740993 must not turn into 9007199254740992. All other numbers are doubles
 * (1e400 is Infinity, as in JSON.parse: check with Number.isFinite where it matters).
 *
 * The work is bounded for whatever a body holds: beyond 1,000 levels, or 500,000 arrays and objects, it is `too_complex`.
 */
export function parseJson(bytes: Buffer): ParsedJson {
  const isPlain = isAscii(bytes);
  if (!isPlain && !isUtf8(bytes)) return { ok: false, code: 'not_utf8', at: firstInvalidUtf8(bytes) };
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const limit = firstBeyondLimits(bytes);
  if (limit !== undefined) return { ok: false, code: 'too_complex', at: limit };
  // Latin-1 is copied, where UTF-8 would be decoded.
  const text = bytes.toString(isPlain ? 'latin1' : 'utf8', start);
  const value = tryParse(text);
  if (value === invalid) {
    const at = start + firstFault(bytes.subarray(start));
    return { ok: false, code: at === bytes.length && text.trim() === '' ? 'empty' : 'not_json', at };
  }
  if (!hasLongDigits(bytes)) return { ok: true, value };
  const exact = tryParse(quoteLongIntegers(text));
  return { ok: true, value: exact === invalid ? value : exact };
}

/**
 * The text of an identifier, or null when the value is none. A string stands as it is (but not the empty one), an
 * integer as its digits. Null too for what could not be stored or compared everywhere: lone surrogates, U+0000
 * (Postgres refuses it) and texts over 256 characters, which no vendor uses.
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

/** Whether so many digits stand in a row, be it in a text. Each such row has a digit at a multiple of its length. */
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
      // 16 digits and more only: JSON.parse has read the others exactly.
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

const quote = 0x22;
const backslash = 0x5c;
const minus = 0x2d;

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

function isDigit(code: number | undefined): boolean {
  return code !== undefined && code >= 0x30 && code <= 0x39;
}

/** The position of the first byte that is not UTF-8. */
function firstInvalidUtf8(bytes: Buffer): number {
  const text = bytes.toString('utf8');
  // Decoding replaces what is invalid by U+FFFD, which may also stand in the bytes by right.
  for (let from = 0, at = 0; ; from += 1, at += 3) {
    const found = text.indexOf('\ufffd', from);
    if (found === -1) return bytes.length;
    at += Buffer.byteLength(text.slice(from, found));
    if (bytes[at] !== 0xef || bytes[at + 1] !== 0xbf || bytes[at + 2] !== 0xbd) return at;
    from = found;
  }
}

/** The bracket with which the text nests too deep or holds too much. What is not JSON is judged as if it were. */
function firstBeyondLimits(bytes: Buffer): number | undefined {
  // Too few of them for either.
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

/** Whether there are more opening brackets and braces than `limit`, those in texts included; it looks no further. */
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

const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;
const comma = 0x2c;
const colon = 0x3a;

/** The position of the first byte at which valid UTF-8 stops being JSON, looking at each byte once. */
function firstFault(bytes: Buffer): number {
  const open: number[] = [];
  let at = 0;
  /** What may stand next: a value, a member's name, or what follows a value. `end` tells a closing mark may too. */
  let next: 'value' | 'name' | 'after' = 'value';
  let mayClose = false;
  for (;;) {
    while (isSpace(bytes[at])) at += 1;
    if (at >= bytes.length) return bytes.length;
    const byte = bytes[at];
    const inside = open.at(-1);
    if (next === 'after' || mayClose) {
      if (
        (byte === closeBrace && inside === openBrace) ||
        (byte === closeBracket && inside === openBracket)
      ) {
        open.pop();
        at += 1;
        next = 'after';
        mayClose = false;
        continue;
      }
      if (next === 'after') {
        if (byte !== comma || inside === undefined) return at;
        at += 1;
        next = inside === openBrace ? 'name' : 'value';
        continue;
      }
    }
    mayClose = false;
    if (next === 'name') {
      at = afterText(bytes, at);
      if (at < 0) return ~at;
      while (isSpace(bytes[at])) at += 1;
      if (bytes[at] !== colon) return at;
      at += 1;
      next = 'value';
    } else if (byte === openBrace || byte === openBracket) {
      open.push(byte);
      at += 1;
      next = byte === openBrace ? 'name' : 'value';
      mayClose = true;
    } else {
      at = byte === quote ? afterText(bytes, at) : afterWord(bytes, at);
      if (at < 0) return ~at;
      next = 'after';
    }
  }
}

// The two below answer where a token ends, or `~` of its first wrong byte: millions of tokens leave no garbage.

function afterText(bytes: Buffer, start: number): number {
  if (bytes[start] !== quote) return ~start;
  for (let at = start + 1; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) return at + 1;
    if (byte < 0x20) return ~at;
    if (byte !== backslash) continue;
    at += 1;
    const escape = bytes[at] ?? 0;
    if (escape === 0x75) {
      for (let digit = at + 1; digit <= at + 4; digit += 1) if (!isHexDigit(bytes[digit])) return ~at;
      at += 4;
    } else if (!escapes.includes(escape)) {
      return ~at;
    }
  }
  return ~bytes.length;
}

const escapes = [...Buffer.from('"\\/bfnrt')];
const words = ['true', 'false', 'null'].map((word) => Buffer.from(word));

/** Behind true, false, null or a number that ends where a token may end. */
function afterWord(bytes: Buffer, start: number): number {
  const first = bytes[start];
  const word = words.find((one) => one[0] === first);
  let at = start;
  if (word !== undefined) {
    at += word.length;
    if (!word.equals(bytes.subarray(start, at))) return ~start;
  } else {
    if (first === minus) at += 1;
    const whole = afterDigits(bytes, at);
    // No digit, or a zero in front of others.
    if (whole === at || (bytes[at] === 0x30 && whole > at + 1)) return ~start;
    at = whole;
    if (bytes[at] === 0x2e) {
      const fraction = afterDigits(bytes, at + 1);
      if (fraction === at + 1) return ~start;
      at = fraction;
    }
    if (bytes[at] === 0x65 || bytes[at] === 0x45) {
      at += 1;
      if (bytes[at] === 0x2b || bytes[at] === minus) at += 1;
      const exponent = afterDigits(bytes, at);
      if (exponent === at) return ~start;
      at = exponent;
    }
  }
  return at >= bytes.length || endsWord.includes(bytes[at] ?? 0) ? at : ~start;
}

const endsWord = [...Buffer.from(' \t\r\n,:[]{}"')];

function afterDigits(bytes: Buffer, start: number): number {
  let at = start;
  while (isDigit(bytes[at])) at += 1;
  return at;
}

function isHexDigit(byte: number | undefined): boolean {
  return isDigit(byte) || (byte !== undefined && (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
