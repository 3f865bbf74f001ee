import { isUtf8 } from 'node:buffer';

/** Why bytes are not JSON. */
export type JsonFault = 'empty' | 'not_utf8' | 'not_json';

export type ParsedJson =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly code: JsonFault;
      /** The byte at which the text stops being JSON; the length of the bytes when they end too early. */
      readonly at: number;
    };

/**
 * Parses bytes as JSON (RFC 8259). Never throws, and tells only code and byte position of a fault: the engine's
 * own messages quote the input. A leading byte order mark is skipped, as the RFC permits; invalid UTF-8 is not JSON.
 *
 * Integers that a double cannot hold exactly become strings of their digits, because some vendors number their
 * users with 64 bits: 9007199254740993 must not turn into 9007199254740992. All other numbers are doubles
 * (1e400 is Infinity, as in JSON.parse: check with Number.isFinite where it matters).
 */
export function parseJson(bytes: Buffer): ParsedJson {
  if (!isUtf8(bytes)) return { ok: false, code: 'not_utf8', at: firstInvalidUtf8(bytes) };
  const start = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? 3 : 0;
  const text = bytes.toString('utf8', start);
  const value = tryParse(text);
  if (value === invalid) {
    const at = start + firstFault(bytes.subarray(start));
    return { ok: false, code: at === bytes.length && text.trim() === '' ? 'empty' : 'not_json', at };
  }
  if (!longDigits.test(text)) return { ok: true, value };
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
// 2^53 has 16 digits: shorter integers are always exact.
const longDigits = /\d{16}/;

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

/**
 * The position of the first byte at which valid UTF-8 stops being JSON. Without recursion, because a body may
 * nest as deep as it is long.
 */
function firstFault(bytes: Buffer): number {
  const open: ('{' | '[')[] = [];
  let at = 0;
  /** What may stand next: a value, a member's name, or what follows a value. `end` tells a closing mark may too. */
  let next: 'value' | 'name' | 'after' = 'value';
  let mayClose = false;
  for (;;) {
    while (isSpace(bytes[at])) at += 1;
    const char = String.fromCharCode(bytes[at] ?? 0);
    const inside = open.at(-1);
    if (at >= bytes.length) return bytes.length;
    if (next === 'after' || mayClose) {
      if ((char === '}' && inside === '{') || (char === ']' && inside === '[')) {
        open.pop();
        at += 1;
        next = 'after';
        mayClose = false;
        continue;
      }
      if (next === 'after') {
        if (char !== ',' || inside === undefined) return at;
        at += 1;
        next = inside === '{' ? 'name' : 'value';
        continue;
      }
    }
    mayClose = false;
    if (next === 'name') {
      const name = scanString(bytes, at);
      if (!name.ok) return name.at;
      at = name.at;
      while (isSpace(bytes[at])) at += 1;
      if (bytes[at] !== 0x3a) return at;
      at += 1;
      next = 'value';
    } else if (char === '{' || char === '[') {
      open.push(char);
      at += 1;
      next = char === '{' ? 'name' : 'value';
      mayClose = true;
    } else {
      const scalar = char === '"' ? scanString(bytes, at) : scanWord(bytes, at);
      if (!scalar.ok) return scalar.at;
      at = scalar.at;
      next = 'after';
    }
  }
}

interface Scanned {
  readonly ok: boolean;
  /** Behind the token, or at its first wrong byte. */
  readonly at: number;
}

function scanString(bytes: Buffer, start: number): Scanned {
  if (bytes[start] !== quote) return { ok: false, at: start };
  for (let at = start + 1; at < bytes.length; at += 1) {
    const byte = bytes[at] ?? 0;
    if (byte === quote) return { ok: true, at: at + 1 };
    if (byte < 0x20) return { ok: false, at };
    if (byte !== backslash) continue;
    at += 1;
    const escape = String.fromCharCode(bytes[at] ?? 0);
    if (escape === 'u') {
      if (!/^[0-9a-fA-F]{4}$/.test(bytes.toString('latin1', at + 1, at + 5))) return { ok: false, at };
      at += 4;
    } else if (!'"\\/bfnrt'.includes(escape)) {
      return { ok: false, at };
    }
  }
  return { ok: false, at: bytes.length };
}

function scanWord(bytes: Buffer, start: number): Scanned {
  let end = start;
  while (end < bytes.length && !' \t\r\n,:[]{}"'.includes(String.fromCharCode(bytes[end] ?? 0))) end += 1;
  const word = bytes.toString('latin1', start, end);
  const ok = /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/.test(word);
  return ok ? { ok, at: end } : { ok, at: start };
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
