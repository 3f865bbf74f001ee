import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { idText, parseJson, parseMembers } from '../../vendors/json.ts';

function parse(text: string | Buffer) {
  return parseJson(Buffer.from(text));
}
function value(text: string): unknown {
  const parsed = parse(text);
  assert.ok(parsed.ok);
  return parsed.value;
}

test('text that JSON.parse accepts has the same value here', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      // Long integers have a test of their own below.
      fc.pre(!/\d{16}/.test(text));
      assert.deepEqual(parse(text), { ok: true, value: JSON.parse(text) as unknown });
    }),
  );
});

/** Long enough that its members are looked for, not parsed. */
const padding = `,"padding":"${'p'.repeat(10_000)}"`;

test('the named members of a long body have the same values as when all of it is parsed', () => {
  const names = ['user_id', 'user'];
  // The names also occur in other spellings, twice, inside other members and next to them, with look-alikes.
  const name = fc.constantFrom(
    '"user_id"',
    '"user"',
    '"us\\u0065r_id"',
    '"\\"user_id"',
    '"__proto__"',
    '"é"',
    '""',
  );
  const object = fc
    .array(fc.tuple(name, fc.oneof(fc.json(), fc.constant('{"user":{"user_id":9007199254740993}}'))))
    .map((members) => members.map(([key, text]) => `${key} :${text}\n`).join());
  fc.assert(
    fc.property(object, fc.boolean(), (members, hasMark) => {
      const text = `${hasMark ? '\ufeff' : ''}{${members}${members === '' ? padding.slice(1) : padding}}`;
      const all = value(text) as Record<string, unknown>;
      const found = parseMembers(Buffer.from(text), names);
      assert.deepEqual(found, {
        ok: true,
        value: Object.fromEntries(names.flatMap((one) => (Object.hasOwn(all, one) ? [[one, all[one]]] : []))),
      });
    }),
  );
  assert.deepEqual(parseMembers(Buffer.from(`[1${padding.replace(':', ',')}]`), names), {
    ok: true,
    value: {},
  });
});

test('text that JSON.parse refuses is refused at a byte of the text, whatever the byte', () => {
  const almostJson = fc
    .tuple(fc.json(), fc.nat(), fc.string({ maxLength: 3 }))
    .map(([text, at, inserted]) => {
      const cut = at % (text.length + 1);
      return text.slice(0, cut) + inserted + text.slice(cut + 1);
    });
  fc.assert(
    fc.property(almostJson, (text) => {
      const bytes = Buffer.from(text);
      const parsed = parseJson(bytes);
      let accepted = true;
      try {
        JSON.parse(bytes.toString());
      } catch {
        accepted = false;
      }
      assert.equal(parsed.ok, accepted);
      const long = Buffer.concat([bytes, Buffer.alloc(10_000, ' ')]);
      assert.equal(parseMembers(long, []).ok, accepted);
      if (!parsed.ok) {
        assert.ok(parsed.at >= 0 && parsed.at <= bytes.length);
        // The text before the fault has no fault except that it ends.
        const before = parseJson(bytes.subarray(0, parsed.at));
        assert.ok(before.ok || before.at === parsed.at);
      }
    }),
    { numRuns: 2_000 },
  );
});

test('the position of a fault is its byte offset', () => {
  for (const [text, at] of [
    ['{"a":1,}', 7],
    ['{"a" 1}', 5],
    ['[1,2', 4],
    ['[1 2]', 3],
    ['[1,]', 3],
    ['{a:1}', 1],
    ['"é\n"', 3],
    ['"é\\x"', 4],
    ['nul', 0],
    ['01', 0],
    ['{} x', 3],
    ['}', 0],
    ['{"a":"b"', 8],
  ] as const) {
    assert.deepEqual(parse(text), { ok: false, code: 'not_json', at }, text);
  }
});

test('a text of white space only is empty', () => {
  assert.deepEqual(parse(''), { ok: false, code: 'empty', at: 0 });
  assert.deepEqual(parse(' \n'), { ok: false, code: 'empty', at: 2 });
});

test('bytes that are not UTF-8 are not JSON, and the position is that of the first wrong byte', () => {
  const wrong = Buffer.concat([Buffer.from('{"ä":"\ufffd'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')]);
  assert.deepEqual(parse(wrong), { ok: false, code: 'not_utf8', at: 10 });
  assert.deepEqual(parse(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22])), {
    ok: false,
    code: 'not_utf8',
    at: 1,
  });
});

test('a leading byte order mark is skipped, and counted in positions', () => {
  assert.deepEqual(parse('\ufeff{"a":1}'), { ok: true, value: { a: 1 } });
  assert.deepEqual(parse('\ufeff{,'), { ok: false, code: 'not_json', at: 4 });
});

test('integers that a double cannot hold keep their digits as text', () => {
  assert.deepEqual(
    value(
      '{"user_id":9007199254740993,"n":-9223372036854775808,"safe":9007199254740991,"t":"9007199254740993"}',
    ),
    {
      user_id: '9007199254740993',
      n: '-9223372036854775808',
      safe: 9007199254740991,
      t: '9007199254740993',
    },
  );
  const numbers = '1.2345678901234567,1e400,12345678901234567890.5,0';
  assert.deepEqual(value(`["a\\"12345678901234567890",${numbers}]`), [
    'a"12345678901234567890',
    ...numbers.split(',').map(Number),
  ]);
  assert.equal(parse('{12345678901234567890:1}').ok, false);
  assert.equal(parse('[012345678901234567890]').ok, false);
});

test('arrays and objects may nest 1,000 levels deep and number 500,000 in total', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
  const many = (objects: number): string => `["[{",${'{},'.repeat(objects - 2)}{}]`;
  assert.equal(parse(nested(1_000)).ok, true);
  assert.deepEqual(parse(nested(1_001)), { ok: false, code: 'too_complex', at: 1_000 });
  assert.equal(parse(many(500_000)).ok, true);
  const text = many(500_001);
  assert.deepEqual(parse(text), { ok: false, code: 'too_complex', at: text.length - 3 });
  assert.deepEqual(parse(`{"a":${'['.repeat(9_000_000)}`), { ok: false, code: 'too_complex', at: 1_004 });
  // Brackets inside strings do not nest.
  assert.equal(parse(JSON.stringify('["\\{'.repeat(10_000))).ok, true);
});

test('a long body is judged the same way when only its members are looked for', () => {
  const nested = (depth: number): string =>
    `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}${padding}}`;
  const many = (objects: number): string => `{"a":[${'{},'.repeat(objects - 3)}{}]${padding}}`;
  const invalid = Buffer.concat([
    Buffer.from(`{"a":1${padding},"b":"`),
    Buffer.from([0xc3, 0x28]),
    Buffer.from('"}'),
  ]);
  for (const [bytes, ok] of [
    [nested(1_000), true],
    [nested(1_001), false],
    [many(500_000), true],
    [many(500_001), false],
    [invalid, false],
    [`{"a":1${padding}`, false],
    [`{"a":1${padding}}}`, false],
    [`{"a":1${padding},}`, false],
    [' '.repeat(10_000), false],
  ] as const) {
    assert.equal(parseMembers(Buffer.from(bytes), ['a']).ok, ok);
    assert.equal(parseJson(Buffer.from(bytes)).ok, ok);
  }
});

test('a long body of replacement characters is scanned once', () => {
  const bytes = Buffer.concat([Buffer.from(`"${'\ufffd'.repeat(1_000_000)}"`), Buffer.from([0xff])]);
  assert.deepEqual(parseJson(bytes), { ok: false, code: 'not_utf8', at: 3_000_002 });
});

test('identifiers are text: strings unchanged, integers by their digits', () => {
  assert.equal(idText('athlete-42'), 'athlete-42');
  assert.equal(idText(' spaced '), ' spaced ');
  assert.equal(idText(10129), '10129');
  assert.equal(idText(0), '0');
  assert.equal(idText(value('9007199254740993')), '9007199254740993');
});

test('a value that names no user is not an identifier', () => {
  for (const none of [
    undefined,
    null,
    '',
    true,
    {},
    ['a'],
    1.5,
    NaN,
    1e20,
    '\ud800',
    'a\0b',
    'x'.repeat(257),
  ]) {
    assert.equal(idText(none), null);
  }
});
