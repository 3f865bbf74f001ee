import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { checkHistory, history, subjects, unreadable } from '../../schemas/contract.ts';

interface Schema {
  fields: { name: string; type: unknown; default?: unknown }[];
}

/** The contract with a change; the changed copy is a schema text again. */
function changed(change: (schema: Schema) => void): string {
  const schema = JSON.parse(biometricEventAvsc) as Schema;
  change(schema);
  return JSON.stringify(schema);
}

function field(schema: Schema, name: string): Schema['fields'][number] {
  const found = schema.fields.find((each) => each.name === name);
  assert.ok(found !== undefined);
  return found;
}

describe('the history of the contract', () => {
  test('the newest released version is the current schema, and each version reads every other', () => {
    assert.deepEqual(checkHistory(), []);
  });

  test('the schema file, the generated text and the newest version in history say the same', () => {
    const file = readFileSync(new URL('../../schemas/biometric-event.avsc', import.meta.url), 'utf8');
    assert.deepEqual(JSON.parse(file), JSON.parse(biometricEventAvsc));
    assert.deepEqual(JSON.parse(history().at(-1)!.avsc), JSON.parse(biometricEventAvsc));
  });

  test('a change without a new version in history is found', () => {
    const text = changed((schema) => {
      schema.fields.push({ name: 'zone', type: ['null', 'string'], default: null });
    });
    const next = history().at(-1)!.version + 1;
    assert.ok(checkHistory(text).join('\n').includes(`copy the schema to biometric-event.v${next}.avsc`));
  });

  test('every enum of the contract has a default, so that older readers survive a new symbol', () => {
    const enums: unknown[] = [];
    JSON.parse(biometricEventAvsc, (_, value: unknown) => {
      if (typeof value === 'object' && value !== null && 'symbols' in value) enums.push(value);
      return value;
    });
    assert.equal(enums.length, 3);
    for (const each of enums) assert.ok(typeof (each as { default?: unknown }).default === 'string');
  });
});

const allowed: Record<string, (schema: Schema) => void> = {
  'a field with a default': (schema) => {
    schema.fields.push({ name: 'zone', type: ['null', 'string'], default: null });
  },
  'a new symbol of an enum': (schema) => {
    (field(schema, 'device_type').type as { symbols: string[] }).symbols.push('garmin');
  },
  'leaving out a field that had a default': (schema) => {
    schema.fields = schema.fields.filter(({ name }) => name !== 'hrv_sdnn');
  },
};

const refused: Record<string, (schema: Schema) => void> = {
  'a field without a default': (schema) => {
    schema.fields.push({ name: 'zone', type: 'string' });
  },
  'leaving out a field without a default': (schema) => {
    schema.fields = schema.fields.filter(({ name }) => name !== 'user_id');
  },
  'another type': (schema) => {
    field(schema, 'revision').type = 'string';
  },
  'a wider type': (schema) => {
    field(schema, 'revision').type = 'double';
  },
  'another name': (schema) => {
    field(schema, 'user_id').name = 'user';
  },
};

for (const [what, change] of Object.entries(allowed)) {
  test(`the contract may evolve by ${what}`, () => {
    assert.equal(unreadable(changed(change), biometricEventAvsc), undefined);
    assert.equal(unreadable(biometricEventAvsc, changed(change)), undefined);
  });
}

for (const [what, change] of Object.entries(refused)) {
  test(`the check finds ${what}`, () => {
    const versions = [
      { version: 1, file: 'biometric-event.v1.avsc', avsc: biometricEventAvsc },
      { version: 2, file: 'biometric-event.v2.avsc', avsc: changed(change) },
    ];
    const faults = checkHistory(changed(change), versions);
    assert.ok(faults.some((fault) => fault.includes('cannot read what')));
  });
}

test('the check is transitive: two versions that differ are compared even with a third between them', () => {
  const without = changed((schema) => {
    schema.fields = schema.fields.filter(({ name }) => name !== 'hrv_sdnn');
  });
  const other = changed((schema) => {
    field(schema, 'hrv_sdnn').type = ['null', 'string'];
  });
  const versions = [biometricEventAvsc, without, other].map((avsc, index) => ({
    version: index + 1,
    file: `biometric-event.v${index + 1}.avsc`,
    avsc,
  }));
  assert.ok(
    checkHistory(other, versions).some((fault) => fault.startsWith('biometric-event.v3.avsc cannot read')),
  );
});

test('there is one subject for each priority topic, under the prefix of the deployment', () => {
  assert.deepEqual(subjects('test.'), [
    'test.biometric-events.high-value',
    'test.biometric-events.medium-value',
    'test.biometric-events.normal-value',
  ]);
});
