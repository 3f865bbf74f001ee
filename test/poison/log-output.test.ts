import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, test, type TestContext } from 'node:test';
import { soon, until } from '../streams/until.ts';

const module = (file: string): string =>
  JSON.stringify(new URL(`../../process/${file}`, import.meta.url).href);

/** A process that logs 3 MB, then serves its admin port until SIGTERM. */
async function flooded(t: TestContext, stdout: number | 'pipe', spoil?: (child: ChildProcess) => void) {
  const program = `
    import { Registry } from 'prom-client';
    import { startAdmin } from ${module('admin.ts')};
    import { startService } from ${module('lifecycle.ts')};
    import { countDroppedLines, createLog } from ${module('log.ts')};
    import { runUntilSignal } from ${module('run.ts')};
    const metrics = new Registry();
    countDroppedLines(metrics);
    const log = createLog({ name: 'flooded', level: 'info' });
    process.once('message', async () => {
      process.exitCode = await runUntilSignal(log, () => startService(async (service) => {
        for (let n = 0; n < 300; n += 1) log.info({ filling: 'x'.repeat(10_000) }, 'a long line');
        const probes = { live: () => 'ok', ready: () => 'ok' };
        const admin = await startAdmin({ port: 0, host: '127.0.0.1', metrics, probes });
        service.onStop(() => admin.close());
        process.send(admin.port);
        process.disconnect();
        return {};
      }));
    });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
    stdio: ['ignore', stdout, 'inherit', 'ipc'],
  });
  t.after(() => child.kill('SIGKILL'));
  const started = once(child, 'message');
  spoil?.(child);
  child.send('start');
  const [port] = (await soon('the start', started, 20_000)) as [number];
  const get = async (path: string): Promise<string> =>
    (await fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(10_000) })).text();
  const dropped = async (): Promise<number> =>
    Number(/^bridge_log_lines_dropped_total (\d+)$/m.exec(await get('/metrics'))?.[1]);
  return { child, get, dropped };
}

async function end(child: ChildProcess): Promise<number | null> {
  const exit = once(child, 'exit');
  child.kill('SIGTERM');
  await soon('the end of the process', exit, 10_000);
  return child.exitCode;
}

async function servesAndEnds(t: TestContext, stdout: number | 'pipe', spoil?: (child: ChildProcess) => void) {
  const { child, get, dropped } = await flooded(t, stdout, spoil);
  assert.ok((await dropped()) > 0);
  assert.equal(await get('/livez'), 'ok\n');
  assert.equal(await end(child), 0);
}

describe(
  'case 10: a log that could not be written froze the process',
  { concurrency: 2, timeout: 60_000 },
  () => {
    test('a full disk', async (t) => {
      const full = openSync('/dev/full', 'w');
      t.after(() => closeSync(full));
      await servesAndEnds(t, full);
    });

    test('a pipe that is not read', async (t) => {
      const folder = mkdtempSync(join(tmpdir(), 'log-'));
      t.after(() => rmSync(folder, { recursive: true }));
      const path = join(folder, 'pipe');
      execFileSync('mkfifo', [path]);
      const pipe = openSync(path, 'r+');
      t.after(() => closeSync(pipe));
      await servesAndEnds(t, pipe);
    });

    test('a pipe that is closed', (t) => servesAndEnds(t, 'pipe', (child) => child.stdout?.destroy()));

    test('once the log is read again, a line reports how many were dropped', async (t) => {
      const { child, dropped } = await flooded(t, 'pipe');
      const expected = await dropped();
      let output = '';
      child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
      await until('the report', () => (output.includes('log lines were dropped') ? true : undefined));
      const closed = once(child, 'close');
      assert.equal(await end(child), 0);
      await closed;
      const lines = output
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { msg: string; lines?: number });
      const kept = lines.filter(({ msg }) => msg === 'a long line').length;
      assert.equal(kept + expected, 300);
      assert.deepEqual(
        lines.slice(kept).map(({ msg, lines: count }) => [msg, count]),
        [
          ['log lines were dropped: the log could not be written', expected],
          ['stopping', undefined],
          ['stopped', undefined],
        ],
      );
    });

    test('all lines before an exit are written, a fatal one last', async (t) => {
      const program = `
      import { createLog } from ${module('log.ts')};
      const log = createLog({ name: 'x'.repeat(150), level: 'info' });
      for (let n = 0; n < 4_000; n += 1) log.info({ n }, 'line');
      log.fatal({ n: 4_000 }, 'failed');
      process.exit(3);`;
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      t.after(() => child.kill('SIGKILL'));
      const lines = (await soon('all lines', text(child.stdout))).trimEnd().split('\n');
      assert.deepEqual(
        lines.map((line) => (JSON.parse(line) as { n: number }).n),
        Array.from({ length: 4_001 }, (_, n) => n),
      );
      if (child.exitCode === null) await once(child, 'exit');
      assert.equal(child.exitCode, 3);
    });
  },
);
