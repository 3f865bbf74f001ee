import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Progress, stallReport } from '../../kafka/progress.ts';

function clock(t: TestContext): { pass(ms: number): void } {
  let now = 1_000;
  t.mock.method(performance, 'now', () => now);
  return {
    pass: (ms) => {
      now += ms;
    },
  };
}

function followed(): Progress {
  const progress = new Progress();
  progress.assign([
    { topic: 'a', partition: 0, committed: 5n },
    { topic: 'a', partition: 1, committed: 5n },
  ]);
  return progress;
}

const names = (progress: Progress, limitMs: number): string[] =>
  progress
    .stalls(limitMs)
    .map(({ topic, partition, stalledMs }) => `${topic ?? ''}-${partition ?? ''} ${stalledMs}`);

test('case 11: a partition stalls from the moment when records wait, not when nothing does', (t) => {
  const time = clock(t);
  const progress = followed();
  time.pass(100_000);
  progress.fetched('a', 0, 9n);
  progress.fetched('a', 1, 5n);
  time.pass(60_000);
  assert.deepEqual(names(progress, 60_000), []);
  time.pass(1);
  assert.deepEqual(names(progress, 60_000), ['a-0 60001']);
});

test('case 11: each commit starts the clock anew, the last one ends the wait', (t) => {
  const time = clock(t);
  const progress = followed();
  progress.fetched('a', 0, 9n);
  time.pass(50);
  progress.committed('a', 0, 7n);
  time.pass(50);
  progress.fetched('a', 0, 9n);
  assert.deepEqual(names(progress, 49), ['a-0 50']);
  progress.committed('a', 0, 9n);
  time.pass(1_000);
  assert.deepEqual(names(progress, 0), []);
});

test('case 11: recoveries and rebalances that commit nothing do not hide a standstill', (t) => {
  const time = clock(t);
  const progress = followed();
  progress.fetched('a', 0, 9n);
  progress.fetched('a', 1, 9n);
  time.pass(70);
  progress.assign([
    { topic: 'a', partition: 0, committed: 5n },
    { topic: 'a', partition: 1, committed: 6n },
  ]);
  progress.fetched('a', 1, 9n);
  assert.deepEqual(names(progress, 60), ['a-0 70']);
});

test('case 11: an outage or a restore counts for no partition that it holds up', (t) => {
  const time = clock(t);
  const progress = followed();
  progress.fetched('a', 0, 9n);
  progress.fetched('a', 1, 9n);
  time.pass(70);
  progress.excuse((_, partition) => partition === 0);
  assert.deepEqual(names(progress, 60), ['a-1 70']);
  progress.excuse();
  assert.deepEqual(names(progress, 60), []);
});

test('the report names the worst partition, what does not move, and how many more there are', () => {
  assert.equal(stallReport([]), 'ok');
  assert.equal(
    stallReport([
      { topic: 'raw.oura', partition: 3, reason: 'records wait and nothing is committed', stalledMs: 61_400 },
      { reason: 'the stream thread makes no step', stalledMs: 61_000 },
    ]),
    'records wait and nothing is committed for 61 s in raw.oura-3, and 1 more',
  );
});
