import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { generateTypes } from '../../schemas/generate-types.ts';

const folder = new URL('../../schemas/', import.meta.url);

test('the TypeScript types are those of the schema: npm run generate writes them', async () => {
  const generated = await generateTypes(readFileSync(new URL('biometric-event.avsc', folder), 'utf8'));
  assert.equal(readFileSync(new URL('biometric-event.ts', folder), 'utf8'), generated);
});

test('an Avro type that the generator does not know is named', async () => {
  const schema = { type: 'record', name: 'R', fields: [{ name: 'f', type: 'bytes' }] };
  await assert.rejects(generateTypes(JSON.stringify(schema)), /does not know the Avro type bytes/);
});
