import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigError, describeConfig, is, readConfig, variable } from '../../process/config.ts';

const table = {
  NAME: variable<string>({ schema: is.text, description: 'a name' }),
  COUNT: variable<number>({ schema: is.integer(1, 10), default: 3, description: 'a count' }),
  FLAG: variable<boolean>({ schema: is.onOff, default: false, description: 'a flag' }),
  LIST: variable<string[]>({ schema: is.list, default: [], description: 'a list' }),
  SECRET: variable<string | undefined>({
    schema: is.text,
    default: undefined,
    secret: true,
    description: 'a secret',
  }),
};

test('values are parsed, and defaults stand for what is unset or empty', () => {
  assert.deepEqual(readConfig(table, { NAME: 'n', COUNT: '', FLAG: 'on', LIST: ' a, b' }), {
    NAME: 'n',
    COUNT: 3,
    FLAG: true,
    LIST: ['a', 'b'],
    SECRET: undefined,
  });
});

test('every fault is reported at once, and none quotes a value', () => {
  assert.throws(
    () => readConfig(table, { COUNT: 'eleven', FLAG: 'maybe' }),
    (error) => {
      assert.ok(error instanceof ConfigError);
      assert.deepEqual(error.faults, [
        'NAME is required: a name',
        'COUNT: must be a whole number (a count)',
        'FLAG: must be on or off (a flag)',
      ]);
      return true;
    },
  );
});

for (const count of ['0', '11', '1e1', '0x1', '1.5', ' 1']) {
  test(`${JSON.stringify(count)} is not a count between 1 and 10`, () => {
    assert.throws(() => readConfig(table, { NAME: 'n', COUNT: count }), ConfigError);
  });
}

test('a variable can come from a file, but the variable itself takes precedence', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'config-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'secret');
  writeFileSync(file, 'from the file\n');
  assert.equal(readConfig(table, { NAME: 'n', SECRET_FILE: file }).SECRET, 'from the file');
  assert.equal(readConfig(table, { NAME: 'n', SECRET: 'direct', SECRET_FILE: file }).SECRET, 'direct');
});

test('a file that cannot be read is a fault', () => {
  assert.throws(
    () => readConfig(table, { NAME: 'n', SECRET_FILE: '/nowhere/secret' }),
    /SECRET_FILE names a file that cannot be read \(ENOENT\)/,
  );
});

test('secrets are not shown, and flags are shown as they are written', () => {
  const config = readConfig(table, { NAME: 'n', SECRET: 'hidden', FLAG: 'on' });
  assert.deepEqual(describeConfig(table, config), {
    NAME: 'n',
    COUNT: '3',
    FLAG: 'on',
    LIST: '[unset]',
    SECRET: '[redacted]',
  });
});
