import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { instantText, parseInstant } from '../../vendors/instant.ts';

test('the common form is read as any other spelling of the same instant', () => {
  const two = (value: number): string => String(value).padStart(2, '0');
  const texts = fc
    .record({
      year: fc.integer({ min: 0, max: 9999 }),
      month: fc.integer({ min: 0, max: 13 }),
      day: fc.integer({ min: 0, max: 32 }),
      hour: fc.integer({ min: 0, max: 25 }),
      minute: fc.integer({ min: 0, max: 61 }),
      second: fc.integer({ min: 0, max: 61 }),
      fraction: fc.constantFrom('', '.007', '.120', '.999'),
      // A character that is not a digit, or not a separator, at any position.
      broken: fc.option(fc.nat({ max: 18 }), { freq: 5 }),
    })
    .map(({ year, month, day, hour, minute, second, fraction, broken }) => {
      const date = `${String(year).padStart(4, '0')}-${two(month)}-${two(day)}`;
      const text = `${date}T${two(hour)}:${two(minute)}:${two(second)}${fraction}`;
      return broken === null ? text : `${text.slice(0, broken)}x${text.slice(broken + 1)}`;
    });
  fc.assert(
    // A lower-case zone is not the common form.
    fc.property(texts, (text) => assert.deepEqual(parseInstant(`${text}Z`), parseInstant(`${text}z`))),
    { numRuns: 3_000 },
  );
  assert.deepEqual(parseInstant('2026-11-01T07:30:05.250Z'), {
    epochMs: Date.UTC(2026, 10, 1, 7, 30, 5, 250),
    zoneAssumed: false,
  });
});

test('case 12: an instant that its offset moves beyond the year 9999 is none: no text can write it', () => {
  assert.equal(
    parseInstant('9999-12-31T23:59:59.999+00:00')?.epochMs,
    Date.UTC(9999, 11, 31, 23, 59, 59, 999),
  );
  assert.equal(parseInstant('9999-12-31T23:59:59-00:01'), null);
  assert.equal(parseInstant('9999-12-31T23:59:59+00:01')?.epochMs, Date.UTC(9999, 11, 31, 23, 58, 59));
});

test('an instant is formatted as Date formats it', () => {
  const instants = fc.integer({ min: Date.UTC(1900, 0, 1), max: Date.UTC(9999, 11, 31, 23, 59, 59, 999) });
  fc.assert(
    fc.property(instants, instants, (a, b) => {
      for (const epochMs of [a, b, a + 1])
        assert.equal(instantText(epochMs), new Date(epochMs).toISOString());
    }),
    { numRuns: 1_000 },
  );
});
