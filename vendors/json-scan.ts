/** Receives a member of the outermost object by position: the name with its quotes, the value with space around it. */
export type OnMember = (nameStart: number, nameEnd: number, valueStart: number, valueEnd: number) => void;

/** Deepest nesting of arrays and objects; RFC 8259, 9 allows a limit. No vendor's bodies reach ten. */
export const maxDepth = 1_000;
/**
 * Most arrays and objects in all. Each costs the engine some hundred bytes and as many nanoseconds, so ten million
 * brackets would block the process for seconds. A body of 10 MiB has room for 20 bytes to each; vendors' use over 50.
 */
export const maxContainers = 500_000;

/**
 * Validates UTF-8 as JSON (RFC 8259) from `start` on, reading each byte once and building nothing. Returns the position
 * of the first byte that is not JSON or exceeds the limits, their length when they end too early, or undefined when they
 * are JSON.
 */
export function jsonFault(bytes: Buffer, start: number, onMember?: OnMember): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const open: number[] = [];
  let containers = 0;
  let at = start;
  /** What comes next: a value, a member's name, or what follows a value; with `mayClose` also a closing bracket. */
  let next: 'value' | 'name' | 'after' = 'value';
  let mayClose = false;
  let nameStart = 0;
  let nameEnd = 0;
  let valueStart = 0;
  for (;;) {
    while (isSpace(bytes[at])) at += 1;
    const inside = open.at(-1);
    if (at >= bytes.length) return next === 'after' && inside === undefined ? undefined : bytes.length;
    const byte = bytes[at];
    if (next === 'after' || mayClose) {
      const closes =
        (byte === closeBrace && inside === openBrace) || (byte === closeBracket && inside === openBracket);
      const continues = next === 'after' && byte === comma && inside !== undefined;
      if (next === 'after' && (closes || continues) && open.length === 1 && inside === openBrace)
        onMember?.(nameStart, nameEnd, valueStart, at);
      if (closes) {
        open.pop();
        at += 1;
        next = 'after';
        mayClose = false;
        continue;
      }
      if (next === 'after') {
        if (!continues) return at;
        at += 1;
        next = inside === openBrace ? 'name' : 'value';
        continue;
      }
    }
    mayClose = false;
    if (next === 'name') {
      const end = afterText(view, at);
      if (end < 0) return ~end;
      if (open.length === 1) [nameStart, nameEnd] = [at, end];
      at = end;
      while (isSpace(bytes[at])) at += 1;
      if (bytes[at] !== colon) return at;
      at += 1;
      if (open.length === 1) valueStart = at;
      next = 'value';
    } else if (byte === openBrace || byte === openBracket) {
      containers += 1;
      if (open.length === maxDepth || containers > maxContainers) return at;
      open.push(byte);
      at += 1;
      next = byte === openBrace ? 'name' : 'value';
      mayClose = true;
    } else {
      at = byte === quote ? afterText(view, at) : afterWord(bytes, at);
      if (at < 0) return ~at;
      next = 'after';
    }
  }
}

export const quote = 0x22;
export const backslash = 0x5c;
export const minus = 0x2d;
export const openBrace = 0x7b;
export const closeBrace = 0x7d;
export const openBracket = 0x5b;
export const closeBracket = 0x5d;
const comma = 0x2c;
const colon = 0x3a;

// The next two return where a token ends, or `~` of its first wrong byte: millions of tokens leave no garbage.

function afterText(view: DataView, start: number): number {
  const end = view.byteLength;
  if (start >= end || view.getUint8(start) !== quote) return ~start;
  let at = start + 1;
  for (;;) {
    while (at + 4 <= end && !mayEndPlainText(view.getInt32(at, true))) at += 4;
    if (at >= end) return ~end;
    const byte = view.getUint8(at);
    at += 1;
    if (byte === quote) return at;
    if (byte < 0x20) return ~(at - 1);
    if (byte !== backslash) continue;
    const escape = at < end ? view.getUint8(at) : 0;
    if (escape === 0x75) {
      for (let digit = at + 1; digit <= at + 4; digit += 1)
        if (digit >= end || !isHexDigit(view.getUint8(digit))) return ~at;
      at += 4;
    } else if (!escapes.includes(escape)) {
      return ~at;
    }
    at += 1;
  }
}

/**
 * Whether one of four bytes is a quote, a backslash or a control character; now and then true when none is. The highest
 * bit of a byte decides: subtracting 1 from 0 (which the xor makes of just that character), or 0x20 from what is less,
 * sets it where it was not set before.
 */
function mayEndPlainText(four: number): boolean {
  const quotes = (four ^ 0x22222222) - 0x01010101;
  const backslashes = (four ^ 0x5c5c5c5c) - 0x01010101;
  const controls = four - 0x20202020;
  return ((quotes | backslashes | controls) & ~four & 0x80808080) !== 0;
}

const escapes = [...Buffer.from('"\\/bfnrt')];
const words = ['true', 'false', 'null'].map((word) => Buffer.from(word));

/** The end of true, false, null or a number, which must be where a token may end. */
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
    // No digit, or a leading zero.
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

export function isDigit(code: number | undefined): boolean {
  return code !== undefined && code >= 0x30 && code <= 0x39;
}

function isHexDigit(byte: number): boolean {
  return isDigit(byte) || ((byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x66);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
