import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Restarts } from '../../ingress/restarts.ts';

/** The pauses that follow workers which served for so many ms. */
function pauses(...served: readonly (number | undefined)[]): (number | undefined)[] {
  const restarts = new Restarts();
  return served.map((servedMs) => restarts.afterOneThatServed(servedMs));
}

test('workers that end right after they listen are restarted ever later, and the tenth in a row not at all', () => {
  assert.deepEqual(pauses(...Array.from({ length: 10 }, () => 1)), [
    100,
    200,
    400,
    800,
    1_600,
    2_000,
    2_000,
    2_000,
    2_000,
    undefined,
  ]);
});

test('a worker that never listens counts as one, however long its start took', () => {
  assert.deepEqual(pauses(undefined, 4_999, undefined), [100, 200, 400]);
  assert.equal(pauses(...Array.from({ length: 10 }, () => undefined)).at(-1), undefined);
});

test('one that served for 5 s is restarted at once, and the count begins again', () => {
  assert.deepEqual(pauses(1, 1, 5_000, 1, 1), [100, 200, 100, 100, 200]);
});
