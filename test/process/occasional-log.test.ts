import assert from 'node:assert/strict';
import { test } from 'node:test';
import { occasionalLog } from '../../process/occasional-log.ts';

test('what happens often is told at most every ten seconds, with how often', () => {
  const lines: object[] = [];
  let now = 1_000;
  const tell = occasionalLog({ warn: (fields: object) => lines.push(fields) }, 'refused', () => now);
  for (let times = 0; times < 100; times += 1) tell({ code: 'a' });
  tell({ code: 'b' });
  now += 10_000;
  tell({ code: 'a' });
  assert.deepEqual(lines, [
    { code: 'a', count: 1 },
    { code: 'b', count: 1 },
    { code: 'a', count: 100 },
  ]);
});
