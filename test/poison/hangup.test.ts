import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { soon, until } from '../streams/until.ts';

const runFile = new URL('../../process/run.ts', import.meta.url).href;

test('case 12: SIGHUP ended a process that has no list of revoked users', async (t) => {
  const program = `
    import { runUntilSignal } from ${JSON.stringify(runFile)};
    const print = (fields, message = fields) => console.log(message);
    const log = { info: print, warn: print, fatal: print };
    process.exitCode = await runUntilSignal(log, async () => {
      const holding = setInterval(() => undefined, 1_000);
      console.log('running');
      return { stop: async () => clearInterval(holding), failed: new Promise(() => undefined) };
    });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await until('the start', () => output.includes('running\n') || undefined);
  child.kill('SIGHUP');
  child.kill('SIGTERM');
  await soon('the end of the process', once(child, 'close'));
  assert.equal(child.exitCode, 0);
});
