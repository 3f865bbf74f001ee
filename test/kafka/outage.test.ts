import assert from 'node:assert/strict';
import { test } from 'node:test';
import { outage, untilBack } from '../../kafka/outage.ts';
import { capturedLog } from '../consumers/postgres/log.ts';

const never = new AbortController().signal;

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
    { outage: outage('the database', log), codeOf: () => 'down', stop: stop.signal },
  );
  assert.equal(result, undefined);
});
