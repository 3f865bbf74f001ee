import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLocalInstant } from '../../vendors/healthkit/local-instant.ts';
import { plainText } from '../../vendors/healthkit/plain-text.ts';

const evening = ['2026-06-10T06:51:59.000Z', '2026-06-10', 600] as const;
const halfPastSix = ['2026-06-10T13:31:10.000Z', '2026-06-10', -420] as const;

for (const [what, text, [iso, date, offsetMinutes]] of [
  ['a clock of 24 hours', '2026-06-10 06:31:10 -0700', halfPastSix],
  ['an hour of one digit', '2026-06-10 6:31:10 -0700', halfPastSix],
  ['midnight of one digit', '2026-06-10 0:00:00 -0700', ['2026-06-10T07:00:00.000Z', '2026-06-10', -420]],
  ['a narrow no-break space and pm', '2026-06-10 4:51:59\u202fpm +1000', evening],
  ['a no-break space and PM', '2026-06-10 4:51:59\u00a0PM +1000', evening],
  ['a plain space and p.m.', '2026-06-10 4:51:59 p.m. +1000', evening],
  ['P.M.', '2026-06-10 4:51:59\u202fP.M. +1000', evening],
  ['the Spanish p. m.', '2026-06-10 4:51:59\u00a0p.\u00a0m. +1000', evening],
  ['pm without a space', '2026-06-10 4:51:59pm +1000', evening],
  ['no-break spaces only', '2026-06-10\u00a004:51:59\u202fPm\u00a0+1000', evening],
  ['pm and no zone', '2026-06-10 4:51:59 pm', ['2026-06-10T16:51:59.000Z', '2026-06-10', null]],
  ['five past midnight', '2026-06-10 12:05:00 am +1000', ['2026-06-09T14:05:00.000Z', '2026-06-10', 600]],
  ['five past noon', '2026-06-10 12:05:00 pm +1000', ['2026-06-10T02:05:00.000Z', '2026-06-10', 600]],
  ['eleven at night', '2026-06-10 11:59:59 PM -0700', ['2026-06-11T06:59:59.000Z', '2026-06-10', -420]],
  ['Arabic digits', '٢٠٢٦-٠٦-١٠ ٠٦:٣١:١٠ -٠٧٠٠', halfPastSix],
  ['Arabic digits, a zone in others', '٢٠٢٦-٠٦-١٠ ٦:٣١:١٠ -0700', halfPastSix],
  ['Persian digits', '۲۰۲۶-۰۶-۱۰ ۰۶:۳۱:۱۰ -۰۷۰۰', halfPastSix],
  ['Devanagari digits', '२०२६-०६-१० ४:५१:५९ pm +१०००', evening],
  ['fullwidth digits', '２０２６-０６-１０ ０６:３１:１０ -０７００', halfPastSix],
  ['digits beyond the basic plane', '𞥒𞥐𞥒𞥖-𞥐𞥖-𞥑𞥐 𞥐𞥖:𞥓𞥑:𞥑𞥐 -0700', halfPastSix],
  ['direction marks', '\u200f٢٠٢٦-٠٦-١٠ ٠٦:٣١:١٠ \u061c-٠٧٠٠\u200e', halfPastSix],
  ['a true minus sign', '2026-06-10 06:31:10 \u22120700', halfPastSix],
  ['RFC 3339', '2026-06-10T06:31:10-07:00', halfPastSix],
  ['RFC 3339 in UTC', '2026-06-10T23:59:59.999Z', ['2026-06-10T23:59:59.999Z', '2026-06-10', 0]],
  ['RFC 3339, lower case', '2026-06-10t23:59:59z', ['2026-06-10T23:59:59.000Z', '2026-06-10', 0]],
  [
    'a tab before the zone',
    '2026-06-10 23:31:10.000\t-0700',
    ['2026-06-11T06:31:10.000Z', '2026-06-10', -420],
  ],
  ['no seconds', '2026-06-10T06:31-0700', ['2026-06-10T13:31:00.000Z', '2026-06-10', -420]],
  ['a bare date', '2026-06-10', ['2026-06-10T00:00:00.000Z', '2026-06-10', null]],
  ['a bare date in Arabic digits', '٢٠٢٦-٠٦-١٠', ['2026-06-10T00:00:00.000Z', '2026-06-10', null]],
  ['no zone', '2026-06-10 23:30:00', ['2026-06-10T23:30:00.000Z', '2026-06-10', null]],
  ['the first year', '2000-01-01 00:00:00 +1400', ['1999-12-31T10:00:00.000Z', '2000-01-01', 840]],
  ['the last year', '2400-12-31 23:59:59 -1200', ['2401-01-01T11:59:59.000Z', '2400-12-31', -720]],
  ['a zone of half an hour', '2026-06-10 00:00:00 +0530', ['2026-06-09T18:30:00.000Z', '2026-06-10', 330]],
] as const) {
  test(`a date with ${what} is read, ${text}`, () => {
    const found = parseLocalInstant(text);
    assert.ok(found !== null, 'unreadable');
    assert.deepEqual(
      [new Date(found.epochMs).toISOString(), found.date, found.offsetMinutes],
      [iso, date, offsetMinutes],
    );
    // Day and time of day say the same of the local clock.
    const wallMs = found.day * 86_400_000 + found.msOfDay;
    assert.equal(wallMs, found.epochMs + (found.offsetMinutes ?? 0) * 60_000);
    assert.equal(new Date(wallMs).toISOString().slice(0, 10), found.date);
  });
}

for (const [what, text] of [
  ['Japanese words for pm', '2026-06-10 午後4:51:59 +1000'],
  ['Japanese words behind the time', '2026-06-10 4:51:59 午後 +1000'],
  ['Korean words for am', '2026-06-10 오전 4:51:59 +1000'],
  ['Greek words for pm', '2026-06-10 4:51:59 μ.μ. +1000'],
  ['Arabic words for am', '٢٠٢٦-٠٦-١٠ ٤:٥١:٥٩ ص +١٠٠٠'],
  ['am before the time', '2026-06-10 am 4:51:59 +1000'],
  ['pm behind the zone', '2026-06-10 4:51:59 +1000 pm'],
  ['half a pm', '2026-06-10 4:51:59 p +1000'],
  ['pm with one dot', '2026-06-10 4:51:59 pm. +1000'],
  ['an am and a pm', '2026-06-10 4:51:59 am pm +1000'],
  ['13 pm', '2026-06-10 13:00:00 pm +1000'],
  ['0 am', '2026-06-10 0:05:00 am +1000'],
  ['hour 24', '2026-06-10 24:00:00 +1000'],
  ['minute 60', '2026-06-10 4:60:00 pm +1000'],
  ['second 61', '2026-06-10 4:51:61 pm +1000'],
  ['31 February', '2026-02-31 4:51:59 pm +1000'],
  ['30 February at midnight', '2026-02-30 00:00:00 -0700'],
  ['month 13', '2026-13-01 04:51:59 +1000'],
  ['a month of one digit', '2026-6-10 04:51:59 +1000'],
  ['a minute of one digit', '2026-06-10 4:5:59 +1000'],
  ['an hour of three digits', '2026-06-10 004:51:59 +1000'],
  ['a zone of 24 hours', '2026-06-10 4:51:59 pm +2400'],
  ['a zone of 60 minutes', '2026-06-10 4:51:59 pm +1060'],
  ['a zone of three digits', '2026-06-10 4:51:59 pm +100'],
  ['a zone by name', '2026-06-10 4:51:59 pm AEST'],
  ['the Buddhist calendar', '2569-06-10 06:31:10 +0700'],
  ['the Buddhist calendar, in ISO 8601', '2569-06-10T06:31:10+07:00'],
  ['the Buddhist calendar, by the 12-hour clock', '2569-06-10 6:31:10 am +0700'],
  ['the Islamic calendar', '١٤٤٧-١٢-٢٤ ٠٦:٣١:١٠ +٠٣٠٠'],
  ['the Persian calendar', '۱۴۰۵-۰۳-۲۰ ۰۶:۳۱:۱۰ +۰۳۳۰'],
  ['an emperor’s calendar', '0008-06-10 06:31:10 +0900'],
  ['an emperor’s calendar, shorter', '8-06-10 06:31:10 +0900'],
  ['the year 1999', '1999-12-31 23:59:59 -0700'],
  ['the year 2401', '2401-01-01 00:00:00 +0700'],
  ['a bare Buddhist date', '2569-06-10'],
  ['superscript digits, which are no decimal digits', '²⁰²⁶-06-10 06:31:10 -0700'],
  ['a dash for a minus', '2026-06-10 06:31:10 \u20130700'],
  ['another order', '10.06.2026'],
  ['nothing', ''],
  ['spaces', '   '],
  ['more behind it', '2026-06-10 06:31:10 -0700 x'],
  ['many marks', `${'\u200f'.repeat(100)}2026-06-10 06:31:10 -0700`],
  ['a number', 1_781_000_000],
  ['null', null],
] as const) {
  test(`a date with ${what} is unreadable and never another date: ${String(text).slice(0, 40)}`, () => {
    assert.equal(parseLocalInstant(text), null);
  });
}

test('every decimal digit of Unicode has its value', () => {
  const decimal = /^\p{Nd}$/u;
  const found: string[] = [];
  for (let code = 0; code <= 0x10_ffff; code += 1) {
    const character = String.fromCodePoint(code);
    if (decimal.test(character)) found.push(plainText(character) ?? '');
  }
  assert.ok(found.length >= 500);
  // Each script has ten, in order.
  assert.deepEqual(
    found,
    found.map((_, at) => String(at % 10)),
  );
  for (const [text, plain] of [
    ['٠١٢٣٤٥٦٧٨٩', '0123456789'],
    ['۰۹', '09'],
    ['०९', '09'],
    ['０９', '09'],
    ['𝟎𝟗𝟘𝟡', '0909'],
    ['𞥐𞥙', '09'],
  ] as const)
    assert.equal(plainText(text), plain);
});
