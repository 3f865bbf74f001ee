import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { bearerToken } from '../../vendors/bearer.ts';
import { bridgeProgram } from '../bridge-program.ts';

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

describe('bridge token', { timeout: 60_000 }, () => {
  let directory = '';
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'token-'));
  });
  after(() => rmSync(directory, { recursive: true }));

  /** Runs the command with nothing in its environment but this, and no local stack. */
  function run(args: string[], env: Record<string, string>): Promise<Ended> {
    return new Promise((resolve) => {
      execFile(
        process.execPath,
        [bridgeProgram, 'token', ...args],
        { env: { PATH: process.env['PATH'], LOCAL_DIRECTORY: directory, ...env } },
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
      );
    });
  }
  const secret = 'planted_secret_example';

  test('prints the token of the user, made with the first secret, and nothing else', async () => {
    const { code, stdout, stderr } = await run(['healthkit', 'athlete-42 å'], {
      APPLE_HEALTHKIT_SECRET: ` ${secret}, older`,
    });
    assert.deepEqual([code, stdout, stderr], [0, `${bearerToken('athlete-42 å', secret)}\n`, '']);
  });

  test('takes the secret from a file, and from the local stack where nothing is set', async () => {
    const file = join(directory, 'secret');
    writeFileSync(file, `${secret}\n`);
    const fromFile = await run(['healthkit', '--', '-user'], { APPLE_HEALTHKIT_SECRET_FILE: file });
    assert.equal(fromFile.stdout, `${bearerToken('-user', secret)}\n`);
    writeFileSync(join(directory, 'env'), 'APPLE_HEALTHKIT_SECRET=of-the-stack\n');
    const fromStack = await run(['healthkit', 'user-1'], {});
    rmSync(join(directory, 'env'));
    assert.equal(fromStack.stdout, `${bearerToken('user-1', 'of-the-stack')}\n`);
  });

  test('explains itself', async () => {
    const { code, stdout } = await run(['--help'], {});
    assert.equal(code, 0);
    assert.match(stdout, /^Usage: bridge token healthkit/);
  });

  for (const [title, args, env, message] of [
    ['without a secret', ['healthkit', 'user-1'], {}, /APPLE_HEALTHKIT_SECRET is required/],
    [
      'for another vendor',
      ['oura', 'user-1'],
      { APPLE_HEALTHKIT_SECRET: secret },
      /valid commands: healthkit/,
    ],
    ['without a user', ['healthkit'], { APPLE_HEALTHKIT_SECRET: secret }, /name one user/],
    ['for an empty user', ['healthkit', ''], { APPLE_HEALTHKIT_SECRET: secret }, /1 to 256/],
    ['for two users', ['healthkit', 'a', 'b'], { APPLE_HEALTHKIT_SECRET: secret }, /name one user/],
    ['with an option', ['healthkit', '--user', 'a'], { APPLE_HEALTHKIT_SECRET: secret }, /no options/],
  ] as const) {
    test(`${title} it exits with 2, says why and prints no token`, async () => {
      const { code, stdout, stderr } = await run([...args], env);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, message);
      assert.doesNotMatch(stderr, /planted/);
    });
  }
});
