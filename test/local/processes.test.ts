import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { endStrays, pidFileOf } from '../../local/part.ts';
import { endProcess, launch, livePid, pidFileNote, writePidFile } from '../../local/processes.ts';
import { soon } from '../streams/until.ts';
import { temporaryDirectory } from './support.ts';

const quick = { signal: 'SIGTERM', deadlineMs: 5_000 } as const;

test('a process is ended by the given signal, and its pid file is removed', async (t) => {
  const pidFile = join(temporaryDirectory(t), 'a.pid');
  const child = await idle(t);
  writePidFile(pidFile, child.pid!);
  assert.equal(livePid(pidFile), child.pid);
  assert.equal(await endProcess(pidFile, quick), 'ended');
  assert.equal(livePid(pidFile), undefined);
  assert.ok(!existsSync(pidFile));
});

test('a process that ignores the signal is killed after the deadline', async (t) => {
  const pidFile = join(temporaryDirectory(t), 'a.pid');
  const child = await idle(t, "process.on('SIGTERM', () => {});");
  writePidFile(pidFile, child.pid!);
  assert.equal(await endProcess(pidFile, { signal: 'SIGTERM', deadlineMs: 100 }), 'killed');
  assert.equal(livePid(pidFile), undefined);
});

test('a pid that now belongs to another process is left alone', async (t) => {
  const pidFile = join(temporaryDirectory(t), 'a.pid');
  const ours = await idle(t);
  writePidFile(pidFile, ours.pid!);
  const started = readFileSync(pidFile, 'utf8').split('\n')[1]!;
  const other = await idle(t);
  writeFileSync(
    pidFile,
    `${other.pid!}\n${started.replace(/\d/, (digit) => String((Number(digit) + 1) % 10))}\n`,
  );
  assert.equal(livePid(pidFile), undefined);
  assert.equal(await endProcess(pidFile, quick), 'none');
  assert.ok(!existsSync(pidFile), 'the stale file is removed');
  assert.equal(other.exitCode ?? other.signalCode, null, 'the other process still runs');
});

test('a pid file that is empty, damaged or missing names no process', async (t) => {
  const directory = temporaryDirectory(t);
  for (const content of ['', 'abc\n1\n', '-1\n1\n', `${process.pid}\n`]) {
    writeFileSync(join(directory, 'a.pid'), content);
    assert.equal(livePid(join(directory, 'a.pid')), undefined);
  }
  assert.equal(await endProcess(join(directory, 'none.pid'), quick), 'none');
});

test('a pid file keeps a note for people', (t) => {
  const pidFile = join(temporaryDirectory(t), 'a.pid');
  writePidFile(pidFile, process.pid, 'npm start');
  assert.equal(pidFileNote(pidFile), 'npm start');
});

test('a launched program writes to its log, and its exit is reported', async (t) => {
  const directory = temporaryDirectory(t);
  const files = { logFile: join(directory, 'logs', 'a.log'), pidFile: join(directory, 'pids', 'a.pid') };
  const exit = new Promise<string>((resolve) => {
    const args = ['-e', "console.log('out'); console.error('err'); setInterval(() => {}, 1000);"];
    void launch({ command: process.execPath, args, cwd: directory }, files, resolve);
  });
  while (!/out[^]*err/.test(existsSync(files.logFile) ? readFileSync(files.logFile, 'utf8') : '')) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(await endProcess(files.pidFile, quick), 'ended');
  // The child is unreferenced, so nothing but the deadline holds this process until its exit is reported.
  assert.equal(await soon('the exit to be reported', exit), 'by SIGTERM');
});

test('a missing program is an error, not an unhandled event', async (t) => {
  const directory = temporaryDirectory(t);
  const files = { logFile: join(directory, 'a.log'), pidFile: join(directory, 'a.pid') };
  const program = { command: join(directory, 'nothing'), args: [], cwd: directory };
  await assert.rejects(
    launch(program, files, () => undefined),
    { code: 'ENOENT' },
  );
});

test('processes that a killed run left in a directory are ended, except the named parts', async (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, 'pids'));
  const [stray, part] = [await idle(t), await idle(t)];
  writePidFile(pidFileOf(directory, 'ingress'), stray.pid!);
  writePidFile(pidFileOf(directory, 'kafka-1'), part.pid!);
  const lines: string[] = [];
  await endStrays(directory, { keep: ['kafka-1'], onProgress: (line) => lines.push(line) });
  assert.equal(livePid(pidFileOf(directory, 'ingress')), undefined);
  assert.equal(livePid(pidFileOf(directory, 'kafka-1')), part.pid);
  assert.deepEqual(lines, ['ingress, left by a run that was killed, is ended']);
});

async function idle(t: TestContext, code = ''): Promise<ChildProcess> {
  const script = `${code} setInterval(() => {}, 1000); console.log('ready');`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}
