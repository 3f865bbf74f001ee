/** Longer than any date, with room for marks. */
const maxLength = 64;

const notAscii = /[^\0-\x7f]/gu;
const decimalDigit = /^\p{Nd}$/u;

/** A date with the digits 0 to 9, plain spaces, and the plain minus sign. Null where it is too long for a date. */
export function plainText(text: string): string | null {
  return text.length > maxLength ? null : text.replace(notAscii, plainCharacter);
}

const plainCharacters = new Map([
  // No-break spaces; phones write the narrow one before am and pm since iOS 16.
  ['\u00a0', ' '],
  ['\u202f', ' '],
  ['\u2212', '-'],
  // Direction marks, which are not visible: Arabic and Hebrew phones may write them around numbers.
  ['\u061c', ''],
  ['\u200e', ''],
  ['\u200f', ''],
]);

function plainCharacter(character: string): string {
  const known = plainCharacters.get(character);
  if (known !== undefined) return known;
  if (!decimalDigit.test(character)) return character;
  const digit = asciiDigit(character);
  plainCharacters.set(character, digit);
  return digit;
}

/**
 * The digit of a decimal digit of any script. Unicode has the ten digits of a script in a row, from zero to nine, and such
 * rows beside each other, so that the number of decimal digits before one names it.
 */
function asciiDigit(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  let before = 0;
  while (decimalDigit.test(String.fromCodePoint(code - before - 1))) before += 1;
  return String(before % 10);
}
