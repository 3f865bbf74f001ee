import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { avroType } from '../../schemas/avro.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder, schemaIdOf } from '../../schemas/codec.ts';

const folder = new URL('../golden/avro/', import.meta.url);
const version1 = readFileSync(
  new URL('../../schemas/history/biometric-event.v1.avsc', import.meta.url),
  'utf8',
);

interface Golden {
  readonly schemaFile: string | null;
  readonly schemaId: number;
  readonly event: BiometricEvent;
}

const names = readdirSync(folder)
  .filter((file) => file.endsWith('.bin'))
  .map((file) => file.slice(0, -'.bin'.length));

for (const name of names) {
  const bytes = readFileSync(new URL(`${name}.bin`, folder));
  const golden = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8')) as Golden;
  const writer =
    golden.schemaFile === null ? version1 : readFileSync(new URL(golden.schemaFile, folder), 'utf8');

  test(`bytes that fastavro wrote decode to the value it encoded: ${name}`, async () => {
    assert.equal(schemaIdOf(bytes), golden.schemaId);
    const decoder = createDecoder(() => Promise.resolve(avroType(writer)), version1);
    await decoder.prepare(golden.schemaId);
    assert.deepStrictEqual(decoder.decode(bytes), golden.event);
  });

  test(`bytes that fastavro wrote are read by the current contract: ${name}`, async () => {
    const decoder = createDecoder(() => Promise.resolve(avroType(writer)));
    await decoder.prepare(golden.schemaId);
    assert.equal(decoder.decode(bytes).event_id, golden.event.event_id);
  });

  if (golden.schemaFile === null) {
    test(`an event is written as the bytes that fastavro wrote: ${name}`, () => {
      assert.deepEqual(createEncoder(golden.schemaId, version1)(golden.event), bytes);
    });
  }
}

test('the golden files hold newer and older writers', () => {
  assert.deepEqual(names.sort(), ['deletion', 'edges', 'full', 'newer-writer', 'nulls', 'older-writer']);
});
