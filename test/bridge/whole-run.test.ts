import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { errorHeader, type Headers } from '../../streams/index.ts';
import { readCommitted } from '../kafka/read.ts';
import { bridge, eventually, type Bridge, type BridgeProcess } from './harness.ts';

// Occurs in every body, valid or not, and in a user's id: it may appear in keys and values only.
const planted = 'planted-9f27c1';

let deployment: Bridge;
let processes: BridgeProcess[];

before(async () => {
  deployment = await bridge();
  processes = ['ingress', 'topology', 'sink'].map((command) => deployment.start(command));
  await eventually('the ingress is ready', async () => {
    const ready = await fetch(`${deployment.baseUrl}/readyz`).catch(() => undefined);
    return ready?.status === 200 ? true : undefined;
  });
});

after(() => deployment.close());

test('bodies of 0.9, 1.1 and 9.9 MiB become events or dead letters, whatever the dates of their measurements', async () => {
  const dayMs = 86_400_000;
  const cases = [
    { user: 'large-1', mebibytes: 0.9, timestamp: Date.now() },
    { user: 'large-2', mebibytes: 1.1, timestamp: Date.now() - 400 * dayMs },
    { user: 'large-3', mebibytes: 9.9, timestamp: Date.now() + 3 * dayMs },
  ];
  for (const { user, mebibytes, timestamp } of cases) {
    const filler = 'x'.repeat(mebibytes * 1024 * 1024 - 200);
    const body = JSON.stringify({ user_id: user, timestamp, hrv_data: { rmssd: 50 }, filler });
    assert.equal(await deployment.post('whoop', body), 200);
  }
  const malformed = `{"cut off": "${'x'.repeat(9.9 * 1024 * 1024)}`;
  assert.equal(await deployment.post('whoop', malformed), 400);
  const { dead, events } = await read({ dead: 1, events: 3 });
  assert.deepEqual(
    events.map(({ key }) => key).sort(),
    cases.map(({ user }) => user),
  );
  assert.equal(dead.length, 1);
});

test('webhooks arrive in their topics and in Postgres, and no log or error header repeats a body', async () => {
  const good = JSON.stringify({
    user_id: planted,
    timestamp: '2025-07-30T12:00:00Z',
    hrv_data: { rmssd: 20.125 },
    sleep: { score: 85 },
    note: planted,
  });
  assert.equal(await deployment.post('oura', good), 200);
  assert.equal(await deployment.post('whoop', `{"user_id":"${planted}","cut off`), 400);
  assert.equal(await deployment.post('terra', JSON.stringify({ note: planted, ts: 1_753_876_800_000 })), 200);
  assert.equal(
    await deployment.post('healthkit', JSON.stringify({ user_id: planted, timestamp: planted })),
    200,
  );
  assert.equal(
    await deployment.post(
      'oura',
      JSON.stringify({ user_id: planted, timestamp: 1_753_876_800, hrv_data: { rmssd: planted } }),
    ),
    200,
  );
  assert.equal(await deployment.post('oura', good, '0'.repeat(64)), 401);
  assert.equal(await deployment.post('oura', good, planted), 401);

  const { dead, events } = await read({ dead: 5, events: 4 });
  assert.deepEqual(
    events.filter(({ key }) => !key.startsWith('large')),
    [{ topic: deployment.names.priority.HIGH, key: planted }],
  );
  const codes = dead.map((headers) => headers[errorHeader.exception]?.toString()).sort();
  assert.deepEqual(codes, ['BAD_TIMESTAMP', 'INVALID_FIELD', 'MISSING_USER_ID', 'NOT_JSON', 'NOT_JSON']);
  for (const headers of dead) {
    for (const [name, value] of Object.entries(headers)) {
      if (name.startsWith('__streams.'))
        assert.ok(!String(value).includes(planted), `${name} repeats the body`);
    }
  }
  const stored = await eventually('the row is stored', async () => {
    const { rows } = await deployment.postgres
      .query<{ hrv: number; priority: string }>(
        'SELECT hrv, priority FROM biometric_events WHERE user_id = $1',
        [planted],
      )
      .catch(() => ({ rows: [] }));
    return rows.length > 0 ? rows : undefined;
  });
  assert.deepEqual(stored, [{ hrv: 20.125, priority: 'HIGH' }]);

  for (const { child } of processes) child.kill('SIGTERM');
  assert.deepEqual(await Promise.all(processes.map(({ ended }) => ended)), [0, 0, 0]);
  for (const { output } of processes) {
    assert.ok(output().length > 0);
    assert.ok(!output().includes(planted), 'a log repeats a body');
    assert.ok(!output().includes('20.125'), 'a log shows a health value');
  }
});

/** Reads from the beginning until that many events and dead letters have come. */
async function read(counts: {
  dead: number;
  events: number;
}): Promise<{ dead: Headers[]; events: { topic: string; key: string }[] }> {
  const { names, connection } = deployment;
  return eventually('all records are routed', async () => {
    const records = await readCommitted(connection, [...Object.values(names.priority), names.deadLetters]);
    const dead = records.filter(({ topic }) => topic === names.deadLetters).map(({ headers }) => headers);
    const events = records
      .filter(({ topic }) => topic !== names.deadLetters)
      .map(({ topic, key }) => ({ topic, key: String(key) }));
    return dead.length >= counts.dead && events.length >= counts.events ? { dead, events } : undefined;
  });
}
