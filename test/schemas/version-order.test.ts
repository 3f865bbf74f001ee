import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compareVersions, type Version } from '../../schemas/version-order.ts';

const version = (generation: number, revision: number, offset: number): Version => ({
  generation,
  revision,
  raw: { offset },
});

test('versions are ordered by generation, then by revision, then by raw offset', () => {
  const inOrder = [
    version(0, 5, 1),
    version(0, 5, 2),
    version(0, 6, 0),
    version(1, 4, 0),
    version(1, 4, 1),
    version(2, 1, 0),
  ];
  fc.assert(
    fc.property(fc.shuffledSubarray(inOrder, { minLength: inOrder.length }), (shuffled) => {
      assert.deepEqual(shuffled.sort(compareVersions), inOrder);
    }),
  );
});

test('a version that is read again equals itself', () => {
  assert.equal(compareVersions(version(1, 5, 2), version(1, 5, 2)), 0);
});
