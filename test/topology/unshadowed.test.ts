import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDecoder } from '../../schemas/codec.ts';
import { RegistryError, type RegistryErrorCode } from '../../schemas/registry.ts';
import { eventIn } from '../../topology/unshadowed.ts';

const refused = (code: RegistryErrorCode) =>
  createDecoder(() => Promise.reject(new RegistryError(code, 'planted')));
const withId = Buffer.from([0, 0, 0, 0, 9, 1, 2, 3]);

test('a record that another program has written to a priority topic is no event, and stops no correction', async () => {
  const decoder = refused('not_found');
  for (const value of [Buffer.alloc(0), Buffer.from('text of another'), withId])
    assert.equal(await eventIn(value, decoder), undefined);
  const unusable = createDecoder(() => Promise.resolve(undefined));
  assert.equal(await eventIn(withId, unusable), undefined);
});

test('a registry that does not answer is no reason to pass over a record', async () => {
  await assert.rejects(eventIn(withId, refused('unavailable')), /planted/);
});
