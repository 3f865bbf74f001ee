import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bearerToken } from '../../vendors/bearer.ts';
import {
  call,
  capturedLog,
  secrets,
  testIngress,
  testTopics,
  text,
  until,
  type Answer,
  type TestTopics,
} from './harness.ts';

describe('HealthKit tokens at a running ingress', { timeout: 120_000 }, () => {
  let topics: TestTopics;
  let directory = '';
  before(async () => {
    topics = await testTopics();
    directory = mkdtempSync(join(tmpdir(), 'revoked-'));
  });
  after(async () => {
    await topics.close();
    rmSync(directory, { recursive: true });
  });

  test('authenticate their user until the user is revoked, and are neither logged nor stored', async () => {
    const file = join(directory, 'revoked');
    writeFileSync(file, '# nobody yet\n');
    const { log, lines } = capturedLog();
    const env = { HEALTHKIT_REVOKED_FILE: file, NODE_ENV: 'production', WHOOP_WEBHOOK_SECRET: 'short' };
    const ingress = await testIngress(topics, env, log);
    const send = (user: string, body: string): Promise<Answer> => {
      const authorization = `Bearer ${bearerToken(user, secrets.APPLE_HEALTHKIT_SECRET)}`;
      const headers = { authorization, 'content-type': 'application/json', 'session-id': 's' };
      return call({ port: ingress.port, path: '/webhook/healthkit', body, headers });
    };
    try {
      assert.equal((await send('planted-user', '{"data":{"metrics":[]}}')).status, 200);
      const [record, ...more] = await topics.read(topics.names.raw.healthkit);
      assert.equal(more.length, 0);
      assert.equal(text(record?.key), 'planted-user');
      assert.equal(text(record?.value), '{"data":{"metrics":[]}}');
      const headers = Object.keys(record?.headers ?? {}).sort();
      assert.deepEqual(headers, [
        'content_type',
        'received_at',
        'scheme',
        'secret',
        'session-id',
        'traceparent',
      ]);
      assert.equal(text(record?.headers['scheme']), 'bearer');

      writeFileSync(file, 'planted-user\n');
      process.kill(process.pid, 'SIGHUP');
      await until(async () => (await send('planted-user', '{}')).status === 401, 'the user is revoked');
      assert.equal((await send('planted-user-2', '{}')).status, 200);
      assert.equal((await send('planted-user-2', '{"user_id":"planted-user"}')).status, 401);
    } finally {
      await ingress.stop();
    }
    const logged = lines.join('');
    assert.match(logged, /"users":1,"msg":"the list of revoked users was read again"/);
    assert.match(logged, /"index":0,"msg":"A SHORT SECRET in WHOOP_WEBHOOK_SECRET/);
    assert.doesNotMatch(logged, /planted|Bearer|"short"|-secret-of-the-tests/);
    assert.equal(process.listenerCount('SIGHUP'), 0);
  });
});
