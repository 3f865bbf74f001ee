import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { describe, test } from 'node:test';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { incompatibleContract } from './events.ts';

const bridge = bridgeProgram;

function run(args: string[], env: NodeJS.ProcessEnv): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const options = { env: { PATH: process.env['PATH'], ...env }, timeout: 60_000 };
    execFile(process.execPath, [bridge, 'schemas', ...args], options, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
    });
  });
}

// Nothing listens there; a stack that runs in this clone must not be asked instead.
const nowhere = { SCHEMA_REGISTRY_URL: 'http://127.0.0.1:9/api' };

describe('bridge schemas', { timeout: 120_000 }, () => {
  test('the history is checked without a registry', async () => {
    const { code, out } = await run(['check', '--offline'], nowhere);
    assert.equal(code, 0);
    assert.match(out, /version\(s\) compared\nno faults\n$/);
  });

  test('register and check agree, and an earlier check says what to run', async () => {
    const url = process.env['SCHEMA_REGISTRY_URL'];
    assert.ok(url !== undefined, 'SCHEMA_REGISTRY_URL is not set: start the local stack');
    const env = { SCHEMA_REGISTRY_URL: url, TOPIC_PREFIX: `command-${randomUUID().slice(0, 8)}.` };
    const before = await run(['check'], env);
    assert.equal(before.code, 1);
    assert.match(before.err, /run `bridge schemas register`/);
    const registered = await run(['register'], env);
    assert.equal(registered.code, 0);
    assert.match(registered.out, /biometric-events\.high-value: id \d+, new\n/);
    const after = await run(['check'], env);
    assert.deepEqual([after.code, after.err], [0, '']);
  });

  test('check and register refuse a schema that what is registered cannot read, and name every subject', async () => {
    const url = process.env['SCHEMA_REGISTRY_URL'];
    assert.ok(url !== undefined, 'SCHEMA_REGISTRY_URL is not set: start the local stack');
    const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: url });
    const prefix = `command-${randomUUID().slice(0, 8)}.`;
    const before = await registerSchemas(registry, prefix, incompatibleContract());
    const env = { SCHEMA_REGISTRY_URL: url, TOPIC_PREFIX: prefix };
    const checked = await run(['check'], env);
    assert.equal(checked.code, 1);
    for (const { subject } of before)
      assert.ok(checked.err.includes(`${subject} would refuse the schema of this version`), checked.err);
    const registered = await run(['register'], env);
    assert.equal(registered.code, 1);
    assert.match(registered.err, /^bridge schemas register: the schema registry at \S+ answers 409/);
    assert.deepEqual(
      await registerSchemas(registry, prefix, incompatibleContract()),
      before.map((one) => ({ ...one, isNew: false })),
    );
  });

  test('a registry that is down yields one clear line and exit code 1', async () => {
    const { code, err } = await run(['register'], nowhere);
    assert.equal(code, 1);
    assert.match(
      err,
      /^bridge schemas register: the schema registry at http:\/\/127\.0\.0\.1:9\/api does not answer/,
    );
    assert.equal(err.trim().split('\n').length, 1);
  });

  test('anything else prints the usage and exits with 2', async () => {
    for (const args of [[], ['migrate'], ['register', '--offline'], ['check', '--what']]) {
      const { code, err } = await run(args, nowhere);
      assert.equal(code, 2, args.join(' '));
      assert.match(err, /Usage: bridge schemas register/);
    }
  });
});
