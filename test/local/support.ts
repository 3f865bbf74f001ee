import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePorts } from '../../local/ports.ts';
import { resetStack } from '../../local/stack.ts';
import { bridgeProgram } from '../bridge-program.ts';

/**
 * A directory of the test's own, removed after it.
 * @param mode - 0o700 keeps other users out, the one that Postgres runs as under root included.
 */
export function temporaryDirectory(t: TestContext, mode = 0o755): string {
  const directory = mkdtempSync(join(tmpdir(), 'local-stack-'));
  chmodSync(directory, mode);
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** The environment without what names a stack: the suite itself runs against one. */
export function bareEnv(more: Record<string, string> = {}): NodeJS.ProcessEnv {
  const stack = /^(KAFKA|SCHEMA_REGISTRY|POSTGRES|REDIS|TOPIC|LOCAL)_/;
  return {
    ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !stack.test(name))),
    ...more,
  };
}

/**
 * A directory for a stack, and an environment whose stack has it and ports of its own. After the test the stack is
 * stopped, whatever became of it, and everything removed.
 */
export async function separateStack(
  t: TestContext,
  options: { brokers?: 1 | 3; mode?: number } = {},
): Promise<{ directory: string; env: NodeJS.ProcessEnv }> {
  const directory = mkdtempSync(join(tmpdir(), 'local-stack-'));
  chmodSync(directory, options.mode ?? 0o755);
  const env = await separateEnv(directory, options.brokers ?? 1);
  t.after(async () => {
    // A test that failed in the middle still holds its stack.
    rmSync(join(directory, 'lock'), { force: true });
    await resetStack({ directory, env });
    rmSync(directory, { recursive: true, force: true });
  });
  return { directory, env };
}

async function separateEnv(directory: string, brokers: number): Promise<NodeJS.ProcessEnv> {
  const ports = await freePorts(brokers);
  return bareEnv({
    LOCAL_DIRECTORY: directory,
    LOCAL_KAFKA_PORT: String(ports.kafka[0]),
    LOCAL_REGISTRY_PORT: String(ports.registry),
    LOCAL_POSTGRES_PORT: String(ports.postgres),
    LOCAL_REDIS_PORT: String(ports.redis),
  });
}

/** Runs `bridge` as a user would; a command that does not end in time is killed and fails. */
export function bridge(
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [bridgeProgram, ...args], { env });
    const late = setTimeout(() => child.kill('SIGKILL'), 120_000);
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    }
    child.once('close', (code) => {
      clearTimeout(late);
      resolve({ code, output });
    });
  });
}
