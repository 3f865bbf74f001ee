/** Longer than any date, with room for marks. */
const maxLength = 64;

/** Direction marks, which Arabic and Hebrew phones may write around numbers: they are not visible. */
const directionMark = /[\u061c\u200e\u200f]/g;
/** No-break space, and the narrow one that stands before am and pm since iOS 16. */
const noBreakSpace = /[\u00a0\u202f]/g;
const anyDigit = /\p{Nd}/gu;

/** A date with the digits 0 to 9, plain spaces, and the plain minus sign. Null where it is too long for a date. */
export function plainText(text: string): string | null {
  if (text.length > maxLength) return null;
  return text
    .replace(directionMark, '')
    .replace(noBreakSpace, ' ')
    .replaceAll('\u2212', '-')
    .replace(anyDigit, asciiDigit);
}

const knownDigits = new Map<string, string>();

/**
 * The digit of a decimal digit of any script. Unicode has the ten digits of a script in a row, from zero to nine, and such
 * rows beside each other, so that the number of decimal digits before one names it.
 */
function asciiDigit(digit: string): string {
  let known = knownDigits.get(digit);
  if (known === undefined) {
    const code = digit.codePointAt(0) ?? 0;
    let before = 0;
    while (/^\p{Nd}$/u.test(String.fromCodePoint(code - before - 1))) before += 1;
    known = String(before % 10);
    knownDigits.set(digit, known);
  }
  return known;
}
