import assert from 'node:assert/strict';
import { CommanderError } from 'commander';
import { run } from '../../cli/program.ts';

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line that ends before its command begins: with help, or with a usage fault. */
export async function ended(...argv: string[]): Promise<Ended> {
  let stdout = '';
  let stderr = '';
  const output = {
    writeOut: (text: string) => (stdout += text),
    writeErr: (text: string) => (stderr += text),
  };
  try {
    await run(argv, output);
  } catch (error) {
    assert.ok(error instanceof CommanderError, String(error));
    return { code: error.exitCode, stdout, stderr };
  }
  assert.fail(`bridge ${argv.join(' ')} ran a command`);
}
