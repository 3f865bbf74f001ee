import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { outage, untilBack, whileBeating } from '../../kafka/consume.ts';
import { capturedLog } from '../consumers/postgres/log.ts';

const never = new AbortController().signal;
const nothing = (): Promise<void> => Promise.resolve();

test('heartbeats continue during long work', { timeout: 20_000 }, async () => {
  let beats = 0;
  let finish: (value: string) => void = () => undefined;
  const work = new Promise<string>((resolve) => {
    finish = resolve;
  });
  const result = await whileBeating(work, () => {
    beats += 1;
    if (beats === 3) finish('done');
    return nothing();
  });
  assert.equal(result, 'done');
  assert.equal(beats, 3);
});

test(
  'a failed heartbeat ends the wait at once, and a later failure of the work has no effect',
  { timeout: 20_000 },
  async () => {
    const later = new AbortController();
    const work = sleep(60_000, undefined, { signal: later.signal });
    await assert.rejects(
      whileBeating(work, () => Promise.reject(new Error('rebalancing'))),
      /rebalancing/,
    );
    later.abort();
  },
);

test('an outage is logged once when it begins and once when it ends', { timeout: 20_000 }, async () => {
  const { log, lines } = capturedLog();
  const states: boolean[] = [];
  const database = outage('the database', log, (isUp) => states.push(isUp));
  let attempts = 0;
  const work = (): Promise<string> => {
    attempts += 1;
    return attempts < 4 ? Promise.reject(new Error('ECONNREFUSED')) : Promise.resolve('stored');
  };
  const options = {
    outage: database,
    codeOf: (error: unknown) => (error as Error).message,
    beat: nothing,
    stop: never,
  };
  assert.deepEqual(await untilBack(work, options), { value: 'stored' });
  assert.deepEqual(await untilBack(work, options), { value: 'stored' });
  assert.equal(database.isDown(), false);
  assert.deepEqual(states, [false, true]);
  assert.equal(lines.length, 2);
  assert.match(lines[0]!, /"code":"ECONNREFUSED".*the database does not answer/);
  assert.match(lines[1]!, /the database is back/);
});

test('a failure that is not an outage is rethrown', async () => {
  const { log, lines } = capturedLog();
  const options = {
    outage: outage('the database', log),
    codeOf: () => undefined,
    beat: nothing,
    stop: never,
  };
  await assert.rejects(
    untilBack(() => Promise.reject(new Error('a bug')), options),
    /a bug/,
  );
  assert.equal(lines.length, 0);
});

test('a stop ends the wait without an error', { timeout: 20_000 }, async () => {
  const { log } = capturedLog();
  const stop = new AbortController();
  let attempts = 0;
  const result = await untilBack(
    () => {
      attempts += 1;
      if (attempts === 5) stop.abort();
      return Promise.reject(new Error('down'));
    },
    { outage: outage('the database', log), codeOf: () => 'down', beat: nothing, stop: stop.signal },
  );
  assert.equal(result, undefined);
});
