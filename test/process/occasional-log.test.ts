import assert from 'node:assert/strict';
import { test } from 'node:test';
import { occasionalLog } from '../../process/occasional-log.ts';

test('a frequent event is logged at most every ten seconds, with its count', () => {
  const lines: object[] = [];
  let now = 1_000;
  const logRefused = occasionalLog({ warn: (fields: object) => lines.push(fields) }, 'refused', () => now);
  for (let times = 0; times < 100; times += 1) logRefused({ code: 'a' });
  logRefused({ code: 'b' });
  now += 10_000;
  logRefused({ code: 'a' }, { offset: '7' });
  assert.deepEqual(lines, [
    { code: 'a', count: 1 },
    { code: 'b', count: 1 },
    { code: 'a', offset: '7', count: 100 },
  ]);
});
