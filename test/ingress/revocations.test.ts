import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { readIngressConfig } from '../../ingress/config.ts';
import { startRevocations, type Revocations } from '../../ingress/revocations.ts';
import type { ConfigError } from '../../process/config.ts';
import { capturedLog, silentLog, until } from './harness.ts';

let directory = '';
let file = '';
let started: Revocations | undefined;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'revoked-'));
  file = join(directory, 'revoked');
});
after(() => rmSync(directory, { recursive: true }));
afterEach(() => started?.stop());

function of(content: string | Buffer): Revocations {
  writeFileSync(file, content);
  return (started = startRevocations(file, silentLog));
}

test('a list holds one user a line; blank lines, comments and white space around an id are left out', () => {
  const { isRevoked } = of(
    '\ufeff# left in May\nuser-1\r\n\n  user-2\t\n   # user-3\nathlete-42 å\nwith # inside\nlast',
  );
  for (const user of ['user-1', 'user-2', 'athlete-42 å', 'with # inside', 'last'])
    assert.ok(isRevoked(user), user);
  for (const user of ['user-3', '# left in May', '', 'user', 'user-11', 'USER-1', '__proto__', 'size'])
    assert.equal(isRevoked(user), false, user);
});

test('white space around the id of a token does not evade the list', () => {
  assert.ok(of('user-1\n').isRevoked(' user-1 '));
});

test('without a file no user is revoked, and SIGHUP is not handled', () => {
  const before = process.listenerCount('SIGHUP');
  assert.equal(startRevocations(undefined, silentLog).isRevoked('user-1'), false);
  assert.equal(process.listenerCount('SIGHUP'), before);
});

test('SIGHUP reloads the list: the users it names now are revoked, and no others', async () => {
  const { isRevoked } = of('user-1\n');
  writeFileSync(file, 'user-2\n');
  assert.deepEqual([isRevoked('user-1'), isRevoked('user-2')], [true, false]);
  process.kill(process.pid, 'SIGHUP');
  await until(() => isRevoked('user-2'), 'the new list is in force');
  assert.equal(isRevoked('user-1'), false);
});

test('a list that cannot be read at SIGHUP leaves the old one in force, with a log line that names no user', async () => {
  writeFileSync(file, 'planted-user\n');
  const { log, lines } = capturedLog();
  started = startRevocations(file, log);
  const faults = (): string[] => lines.filter((line) => line.includes('COULD NOT BE READ AGAIN'));
  rmSync(file);
  process.kill(process.pid, 'SIGHUP');
  await until(() => faults().length === 1, 'the missing file is reported');
  assert.ok(started.isRevoked('planted-user'));
  writeFileSync(file, Buffer.from([0x70, 0xff]));
  process.kill(process.pid, 'SIGHUP');
  await until(() => faults().length === 2, 'the unreadable file is reported');
  assert.ok(started.isRevoked('planted-user'));
  assert.ok(faults().every((line) => (JSON.parse(line) as { level: number }).level === 50));
  assert.doesNotMatch(lines.join(''), /planted/);
});

test('a list that cannot be read at the start is a fault of the environment, reported with the others', () => {
  const missing = join(directory, 'planted-name');
  assert.throws(
    () => startRevocations(missing, silentLog),
    /HEALTHKIT_REVOKED_FILE names cannot be read \(ENOENT\)/,
  );
  assert.throws(
    () => readIngressConfig({ HEALTHKIT_REVOKED_FILE: missing }),
    ({ faults, message }: ConfigError) => {
      assert.equal(faults.length, 2);
      assert.match(message, /HEALTHKIT_REVOKED_FILE: cannot be read/);
      assert.doesNotMatch(message, /planted/);
      return true;
    },
  );
});
