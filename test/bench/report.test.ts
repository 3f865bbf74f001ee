import assert from 'node:assert/strict';
import { test } from 'node:test';
import { median, summarize, table, type Goal, type Pair } from './report.ts';

const pair = (ours: number, peer?: number): Pair => ({
  ours: { value: ours, brokerCpuSeconds: 1 },
  peer: peer === undefined ? undefined : { value: peer },
});
const atLeast = (of: Goal['of'], value: number): Goal => ({ of, is: 'at least', value });
const line = (pairs: Pair[], goals: Goal[] = []) => summarize({ figure: 'f', unit: 'x/s', pairs, goals });

test('a median is the middle value, the mean of the middle two, and nothing of nothing', () => {
  assert.deepEqual(
    [[3, 1, 2], [4, 1, 2, 3], [7], []].map((values) => median(values)),
    [2, 2.5, 7, null],
  );
});

test('a ratio is the median of the ratios of the pairs, not the ratio of the medians', () => {
  const { ours, peer, ratio, ratio_min, ratio_max } = line([pair(10, 5), pair(30, 10), pair(20, 20)]);
  assert.deepEqual([ours, peer, ratio, ratio_min, ratio_max], [20, 10, 2, 1, 3]);
});

test('a figure without a peer has neither ratio nor extremes of one, and keeps its own', () => {
  const { ours_min, ours_max, peer, ratio, broker_cpu_s_ours, broker_cpu_s_peer } = line([pair(1), pair(4)]);
  assert.deepEqual(
    [ours_min, ours_max, peer, ratio, broker_cpu_s_ours, broker_cpu_s_peer],
    [1, 4, null, null, 1, null],
  );
});

test('a goal of the ratio is undecided without a peer, unless another goal is missed', () => {
  assert.deepEqual(
    [
      line([pair(10)], []).met,
      line([pair(10)], [atLeast('ratio', 2)]).met,
      line([pair(10)], [atLeast('ours', 5), atLeast('ratio', 2)]).met,
      line([pair(10)], [atLeast('ours', 50), atLeast('ratio', 2)]).met,
      line([pair(10, 5)], [atLeast('ours', 5), atLeast('ratio', 2)]).met,
      line([pair(10, 6)], [{ of: 'ratio', is: 'at most', value: 1.5 }]).met,
    ],
    [null, null, null, false, true, false],
  );
});

test('the table has one row for each figure, numbers to the right', () => {
  assert.equal(
    table([line([pair(123_456, 61_728)], [atLeast('ratio', 1.3)]), line([pair(0.25)])]),
    [
      'figure  unit     ours    peer  ratio  goal          met?',
      '------  ----  -------  ------  -----  ------------  ----',
      'f       x/s   123,456  61,728   2.00  ratio >= 1.3  yes',
      'f       x/s      0.25',
    ].join('\n'),
  );
});
