/** How a comparison ends that cannot go on. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { runDiff } from '../../replay/diff-run.ts';
import { silentLog } from '../streams/log.ts';
import { soon, until } from '../streams/until.ts';
import { Live } from './live.ts';

const timeout = 120_000;

const simple = (user: string, more: object = {}): string =>
  JSON.stringify({ user_id: user, timestamp: new Date().toISOString(), hrv_data: { rmssd: 50 }, ...more });

test('SIGINT ends it with 130', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  await live.append([{ device: 'oura', user: 'u', body: simple('u') }]);
  await live.run();
  // It has to wait for the end of the transaction, so that it cannot have ended before.
  const abort = await live.openTransaction(live.application.names.priority.NORMAL);
  const folder = await mkdtemp(join(tmpdir(), 'bridge-diff-'));
  t.after(() => rm(folder, { recursive: true }));
  const out = join(folder, 'diff.jsonl');
  const { child, ended } = live.start('--out', out);
  await until('the file', () => existsSync(out) || undefined);
  child.kill('SIGINT');
  const { code, stdout, stderr } = await soon('its end', ended);
  await abort();
  assert.equal(code, 130, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /^bridge replay diff: interrupted/);
});

test('it fails when retention overtakes it', { timeout }, async (t) => {
  const live = await Live.create(t, 1);
  const { names } = live.application;
  // More than is fetched ahead; noise, because the broker's batches are compressed.
  const noise = (): string => Array.from({ length: 12_000 }, () => Math.random().toString(36)).join('');
  for (let sends = 0; sends < 30; sends += 1)
    await live.append([{ device: 'oura', user: 'u', body: simple('u', { noise: noise() }) }]);
  await live.run();
  const abort = await live.openTransaction(names.priority.NORMAL);
  let deleted: Promise<void> | undefined;
  const running = runDiff({
    config: live.config,
    log: silentLog,
    devices: ['oura'],
    options: { values: false },
    parallel: 1,
    signal: new AbortController().signal,
    progress: {
      // Told of it once it has chosen where to start.
      expect: () => {
        deleted = live.deleteBefore(names.raw.oura, 29);
      },
      add: () => undefined,
    },
  });
  const failed = assert.rejects(running, /raw\.oura-0 has no offset \d+ any more: .* start again$/);
  await until('the deletion', () => deleted?.then(() => true));
  await abort();
  await soon('the failure', failed);
});
