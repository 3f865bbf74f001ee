import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ingressVariables, readIngressConfig, shortSecrets, vendorSecrets } from '../../ingress/config.ts';
import { ConfigError, describeConfig } from '../../process/config.ts';

const env = { KAFKA_BOOTSTRAP_SERVERS: 'localhost:9092' };

test('the defaults are for development, or for production if NODE_ENV says so', () => {
  const development = readIngressConfig(env);
  assert.deepEqual([development.PLAIN_SIGNATURE, development.TEST_WEBHOOK], [true, true]);
  assert.deepEqual(
    [development.HOST, development.PORT, development.ADMIN_PORT, development.MAX_BODY_BYTES],
    ['0.0.0.0', 8889, undefined, 10 * 1024 * 1024],
  );
  const production = readIngressConfig({ ...env, NODE_ENV: 'production' });
  assert.deepEqual([production.PLAIN_SIGNATURE, production.TEST_WEBHOOK], [false, false]);
  const explicit = readIngressConfig({
    ...env,
    NODE_ENV: 'production',
    PLAIN_SIGNATURE: 'on',
    TEST_WEBHOOK: 'on',
  });
  assert.deepEqual([explicit.PLAIN_SIGNATURE, explicit.TEST_WEBHOOK], [true, true]);
});

test('secrets are lists, so that they can be rotated, and are never shown', () => {
  const config = readIngressConfig({
    ...env,
    OURA_WEBHOOK_SECRET: 'new, old',
    POSTGRES_URL: 'postgres://u:pw@h/d',
  });
  assert.deepEqual(config.OURA_WEBHOOK_SECRET, ['new', 'old']);
  assert.deepEqual(config.WHOOP_WEBHOOK_SECRET, []);
  const shown = describeConfig(ingressVariables(env), config);
  assert.equal(shown['OURA_WEBHOOK_SECRET'], '[redacted]');
  assert.equal(shown['POSTGRES_URL'], '[redacted]');
  assert.equal(shown['WHOOP_WEBHOOK_SECRET'], '[unset]');
});

test('all faults are reported together, and none quotes its value', () => {
  const wrong = { PORT: 'planted-1', WORKERS: '0', REDIS_URL: 'http://planted-2', TEST_WEBHOOK: 'planted-3' };
  assert.throws(
    () => readIngressConfig(wrong),
    (error: ConfigError) => {
      assert.equal(error.faults.length, 5);
      assert.match(error.message, /WORKERS: must be between 1 and 256/);
      assert.match(error.message, /KAFKA_BOOTSTRAP_SERVERS is required/);
      assert.doesNotMatch(error.message, /planted/);
      return true;
    },
  );
});

test('short secrets are reported by variable and position, and not shown', () => {
  const config = readIngressConfig({
    ...env,
    OURA_WEBHOOK_SECRET: 'sixteen-letters!,planted-short1',
    WHOOP_WEBHOOK_SECRET: 'planted',
    APPLE_HEALTHKIT_SECRET: 'long enough for anybody',
    OURA_VERIFICATION_TOKEN: 'planted',
  });
  const short = shortSecrets(config);
  assert.deepEqual(short, [
    { variable: 'OURA_WEBHOOK_SECRET', index: 1 },
    { variable: 'WHOOP_WEBHOOK_SECRET', index: 0 },
    { variable: 'OURA_VERIFICATION_TOKEN', index: 0 },
  ]);
});

test('signed timestamps may be as old as the retries of their vendor', () => {
  const config = readIngressConfig({ ...env, TERRA_SIGNATURE_TOLERANCE_S: '300' });
  const { oura, whoop, terra, healthkit } = vendorSecrets(config);
  const tolerances = [oura, whoop, terra, healthkit].map(({ toleranceS }) => toleranceS);
  assert.deepEqual(tolerances, [4_500, 4_500, 300, 0]);
  assert.equal(readIngressConfig(env).TERRA_SIGNATURE_TOLERANCE_S, 90_000);
});
