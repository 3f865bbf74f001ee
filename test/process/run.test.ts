import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { soon, until } from '../streams/until.ts';

const runFile = new URL('../../process/run.ts', import.meta.url).href;

/** A process that runs a part with `stop` and `failed`, along with `more`; SIGTERM ends it once it runs. */
async function run(
  t: { after(undo: () => void): void },
  {
    more = '',
    failed = 'failed: new Promise(() => undefined)',
    signal = true,
  }: { more?: string; failed?: string; signal?: boolean },
): Promise<{ code: number | null; output: string }> {
  const program = `
    import { runUntilSignal } from ${JSON.stringify(runFile)};
    const tell = (fields, message = fields) => console.log(message);
    const log = { info: tell, warn: tell, fatal: tell };
    ${more}
    const holding = setInterval(() => undefined, 1_000);
    process.exitCode = await runUntilSignal(log, async () => {
      console.log('running');
      return { stop: async () => clearInterval(holding), ${failed} };
    });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const closed = once(child, 'close');
  if (signal) {
    await until('the start', () => output.includes('running\n') || undefined);
    child.kill('SIGTERM');
  }
  await soon('the end of the process', closed);
  return { code: child.exitCode, output };
}

describe('a process', { concurrency: true }, () => {
  test('drains at SIGTERM and ends with 0', async (t) => {
    assert.deepEqual(await run(t, {}), { code: 0, output: 'running\nstopping\nstopped\n' });
  });

  test('whose part fails stops it and ends with 1', async (t) => {
    const failed = `failed: Promise.reject(new Error('no more'))`;
    const { code, output } = await run(t, { failed, signal: false });
    assert.deepEqual({ code, output }, { code: 1, output: 'running\nfailed\nstopped\n' });
  });

  test('ends even if a forgotten handle would keep it alive, and logs that', async (t) => {
    const { code, output } = await run(t, { more: 'setInterval(() => undefined, 100);' });
    assert.equal(code, 0);
    assert.match(output, /stopped\nstopped, but something holds the process: ending it\n$/);
  });

  test('ends with 1 after a failure even if a handle would keep it alive', async (t) => {
    const failed = `failed: Promise.reject(new Error('no more'))`;
    const { code } = await run(t, { failed, more: 'setInterval(() => undefined, 100);', signal: false });
    assert.equal(code, 1);
  });
});
