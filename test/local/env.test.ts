import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { vendors } from '../../vendors/index.ts';
import { readLocalEnv, stackDirectory, vendorSecrets, withLocalEnv, writeLocalEnv } from '../../local/env.ts';
import { projectRoot } from '../../process/root.ts';
import { temporaryDirectory } from './support.ts';

test('the written file is read back, by the bridge and by a shell', (t) => {
  const directory = temporaryDirectory(t);
  const values = { POSTGRES_URL: 'postgres://bridge:a_b-c=d@127.0.0.1:1/bridge', TOPIC_PARTITIONS: '4' };
  writeLocalEnv(directory, values);
  assert.deepEqual(readLocalEnv(directory), values);
  const script = 'set -a; . "$1/env"; printf %s "$POSTGRES_URL"';
  assert.equal(
    execFileSync('sh', ['-c', script, 'sh', directory], { encoding: 'utf8' }),
    values.POSTGRES_URL,
  );
});

test('only its owner can read the file, even if it existed with another mode', (t) => {
  const directory = temporaryDirectory(t);
  for (let round = 0; round < 2; round += 1) {
    writeLocalEnv(directory, { OURA_WEBHOOK_SECRET: 'x' });
    assert.equal(statSync(join(directory, 'env')).mode & 0o777, 0o600);
  }
});

test('without a stack there is nothing to read', (t) => {
  assert.deepEqual(readLocalEnv(temporaryDirectory(t)), {});
});

test('the process environment takes precedence over the stack, also by file; an empty variable does not', (t) => {
  const directory = temporaryDirectory(t);
  writeLocalEnv(directory, {
    REDIS_URL: 'stack',
    POSTGRES_URL: 'stack',
    OURA_WEBHOOK_SECRET: 'stack',
    TOPIC_PARTITIONS: '4',
  });
  const env = withLocalEnv({
    LOCAL_DIRECTORY: directory,
    REDIS_URL: '',
    POSTGRES_URL: 'process',
    OURA_WEBHOOK_SECRET_FILE: '/run/secrets/oura',
    HOME: '/home/x',
  });
  assert.deepEqual(env, {
    LOCAL_DIRECTORY: directory,
    REDIS_URL: 'stack',
    POSTGRES_URL: 'process',
    OURA_WEBHOOK_SECRET_FILE: '/run/secrets/oura',
    TOPIC_PARTITIONS: '4',
    HOME: '/home/x',
  });
});

test('nothing of the stack is taken for brokers that are not its own', (t) => {
  const directory = temporaryDirectory(t);
  writeLocalEnv(directory, { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1', TOPIC_PARTITIONS: '4' });
  const elsewhere = { LOCAL_DIRECTORY: directory, KAFKA_BOOTSTRAP_SERVERS: 'elsewhere:9092' };
  assert.deepEqual(withLocalEnv(elsewhere), elsewhere);
  const same = withLocalEnv({ ...elsewhere, KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1' });
  assert.equal(same['TOPIC_PARTITIONS'], '4');
});

test('secrets are random for each stack and stay with it', (t) => {
  const [one, other] = [temporaryDirectory(t), temporaryDirectory(t)];
  const secrets = vendorSecrets(one);
  const names = [...Object.values(vendors).map(({ webhook }) => webhook.secret), 'OURA_VERIFICATION_TOKEN'];
  assert.deepEqual(Object.keys(secrets).sort(), names.sort());
  const all = [...Object.values(secrets), ...Object.values(vendorSecrets(other))];
  assert.equal(new Set(all).size, 2 * names.length);
  writeLocalEnv(one, secrets);
  assert.deepEqual(vendorSecrets(one), secrets);
});

test('the directory is .local of the clone unless LOCAL_DIRECTORY or the caller names another', () => {
  assert.equal(stackDirectory({}), join(projectRoot(), '.local'));
  assert.equal(stackDirectory({ LOCAL_DIRECTORY: '' }), join(projectRoot(), '.local'));
  assert.equal(stackDirectory({ LOCAL_DIRECTORY: '/x' }), '/x');
  assert.equal(stackDirectory({ LOCAL_DIRECTORY: '/x' }, '.local/test'), join(projectRoot(), '.local/test'));
});
