/** The Redis of the stack. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Its address; undefined where redis-server is not installed, the one case in which these tests are skipped. Then it says so on
 * a line of its own.
 */
export function redisUrl(): string | undefined {
  const url = process.env['REDIS_URL'];
  if (url !== undefined && url !== '') return url;
  const isInstalled = (process.env['PATH'] ?? '')
    .split(delimiter)
    .some((folder) => existsSync(join(folder, 'redis-server')));
  assert.ok(!isInstalled, 'REDIS_URL is not set: start the local stack, then `set -a; . .local/env; set +a`');
  process.stdout.write(
    'SKIPPED: the alert store in Redis is not tested, because redis-server is not installed\n',
  );
  return undefined;
}
