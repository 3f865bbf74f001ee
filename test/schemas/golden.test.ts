import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { avroType } from '../../schemas/avro.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder, schemaIdOf } from '../../schemas/codec.ts';

const folder = new URL('../golden/avro/', import.meta.url);

interface Golden {
  /** The version of the contract, or the file of another schema. */
  readonly writer: number | string;
  readonly schemaId: number;
  /** What a reader of each version gets. */
  readonly events: Readonly<Record<string, BiometricEvent>>;
}

/** The text of a version of the contract. */
function contract(version: number | string): string {
  return readFileSync(
    new URL(`../../schemas/history/biometric-event.v${version}.avsc`, import.meta.url),
    'utf8',
  );
}

const names = readdirSync(folder)
  .filter((file) => file.endsWith('.bin'))
  .map((file) => file.slice(0, -'.bin'.length));

for (const name of names) {
  const bytes = readFileSync(new URL(`${name}.bin`, folder));
  const { writer, schemaId, events } = JSON.parse(
    readFileSync(new URL(`${name}.json`, folder), 'utf8'),
  ) as Golden;
  const schema =
    typeof writer === 'number' ? contract(writer) : readFileSync(new URL(writer, folder), 'utf8');

  for (const [version, event] of Object.entries(events)) {
    test(`bytes that fastavro wrote decode to the value it encoded: ${name}, read by version ${version}`, async () => {
      assert.equal(schemaIdOf(bytes), schemaId);
      const decoder = createDecoder(() => Promise.resolve(avroType(schema)), contract(version));
      await decoder.prepare(schemaId);
      assert.deepStrictEqual(decoder.decode(bytes), event);
    });
  }

  test(`bytes that fastavro wrote are read by the current contract: ${name}`, async () => {
    const decoder = createDecoder(() => Promise.resolve(avroType(schema)));
    await decoder.prepare(schemaId);
    assert.equal(decoder.decode(bytes).event_id, events['1']!.event_id);
  });

  if (typeof writer === 'number') {
    test(`an event is written as the bytes that fastavro wrote: ${name}`, () => {
      assert.deepEqual(createEncoder(schemaId, schema)(events[writer]!), bytes);
    });
  }
}

test('the golden files hold writers of each version, and newer and older ones', () => {
  assert.deepEqual(names.sort(), [
    'deletion',
    'edges',
    'full',
    'newer-writer',
    'nulls',
    'older-writer',
    'version-2',
    'version-2-nulls',
  ]);
});
