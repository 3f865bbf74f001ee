import { execFile, execFileSync, spawn, type ExecFileOptions } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StackError } from './errors.ts';

/** A program to run next to this process. */
export interface Program {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** Default: what any program needs, and nothing else. */
  readonly env?: NodeJS.ProcessEnv;
  /** The user to run as; only root can choose one. */
  readonly user?: { readonly uid: number; readonly gid: number };
}

/**
 * Starts `program` in a process group of its own, its output appended to `logFile`, its pid in `pidFile`.
 * Ctrl-C in the terminal reaches a whole process group at once: in their own group the parts are stopped by us,
 * in order, and not by the terminal, all together.
 * @param onExit - called once, with words for people, if this process still lives when the program ends.
 * @throws the spawn's error (ENOENT, EACCES) when the program cannot be started.
 */
export async function launch(
  program: Program,
  files: { readonly logFile: string; readonly pidFile: string },
  onExit: (how: string) => void,
): Promise<void> {
  for (const file of [files.logFile, files.pidFile]) mkdirSync(dirname(file), { recursive: true });
  keepPrevious(files.logFile);
  const log = openSync(files.logFile, 'a');
  try {
    const child = spawn(program.command, program.args, {
      cwd: program.cwd,
      env: program.env ?? plainEnvironment(),
      detached: true,
      stdio: ['ignore', log, log],
      ...program.user,
    });
    if (child.pid !== undefined) writePidFile(files.pidFile, child.pid);
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.once('exit', (code, signal) => onExit(signal === null ? `with exit code ${code}` : `by ${signal}`));
    child.unref();
  } finally {
    closeSync(log);
  }
}

/**
 * Runs a program that ends by itself, within 60 s unless the options say otherwise.
 * @param what - what it does, for the error: `formatting the data`.
 * @returns what it wrote to standard output and standard error.
 * @throws StackError PART_FAILED with the last lines that it wrote.
 */
export function runProgram(
  what: string,
  command: string,
  args: readonly string[],
  options: ExecFileOptions = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout: 60_000, ...options, encoding: 'utf8' }, (error, stdout, stderr) => {
      const output = `${stdout}\n${stderr}`.trim();
      if (error === null) return resolve(output);
      const words = lastLines(output === '' ? error.message : output);
      reject(new StackError('PART_FAILED', `${what} failed:\n${words}`, { cause: error }));
    });
  });
}

/** The pid that a pid file names, if that process is alive and the very one that the file was written for. */
export function livePid(pidFile: string): number | undefined {
  const [pid, started] = readLines(pidFile);
  if (pid === undefined || started === undefined) return undefined;
  return startOf(Number(pid)) === started ? Number(pid) : undefined;
}

/** Writes the pid and the moment that process started: pids are used again, the two together are not. */
export function writePidFile(pidFile: string, pid: number, note = ''): void {
  writeFileSync(pidFile, `${pid}\n${startOf(pid) ?? 'ended'}\n${note}\n`);
}

/** The note that `writePidFile` put next to the pid; empty when there is none. */
export function pidFileNote(pidFile: string): string {
  return readLines(pidFile)[2] ?? '';
}

/**
 * Ends the process of a pid file and removes the file. A process that outlives `deadlineMs` is killed.
 * Leaves a pid alone that another process has since been given.
 * @returns how it ended; `none` when there was no such process.
 */
export async function endProcess(
  pidFile: string,
  options: { readonly signal: NodeJS.Signals; readonly deadlineMs: number },
): Promise<'none' | 'ended' | 'killed'> {
  const pid = livePid(pidFile);
  let how: 'none' | 'ended' | 'killed' = 'none';
  if (pid !== undefined) {
    how = options.signal === 'SIGKILL' ? 'killed' : 'ended';
    signalProcess(pid, options.signal);
    if (!(await gone(pidFile, options.deadlineMs))) {
      how = 'killed';
      signalProcess(pid, 'SIGKILL');
      if (!(await gone(pidFile, 10_000))) {
        throw new Error(`process ${pid} (${pidFile}) did not end within 10 s of SIGKILL`);
      }
    }
  }
  rmSync(pidFile, { force: true });
  return how;
}

/**
 * What any program needs. Our own variables mean other things to other software: the registry does not start with a
 * LOG_LEVEL that it does not know.
 */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const names = [
    'PATH',
    'HOME',
    'USER',
    'LOGNAME',
    'LANG',
    'LC_ALL',
    'LC_CTYPE',
    'TMPDIR',
    'TZ',
    'JAVA_HOME',
  ];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/** The last five lines of a text, for an error message. */
export function lastLines(text: string): string {
  return text.trimEnd().split('\n').slice(-5).join('\n');
}

async function gone(pidFile: string, deadlineMs: number): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    if (livePid(pidFile) === undefined) return true;
    if (performance.now() > deadline) return false;
    await sleep(25);
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    // It ended by itself just now, as wanted.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** When the process started, in whatever unit the system has; undefined for none and for zombies. */
function startOf(pid: number): string | undefined {
  if (!Number.isInteger(pid) || pid < 1) return undefined;
  try {
    if (process.platform === 'linux') {
      // The name in parentheses may hold anything; the state and field 22, the start in ticks since boot, follow it.
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
      return `${fields[19] ?? ''} ${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()}`;
    }
    const line = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim();
    const [state = 'Z', ...started] = line.split(/\s+/);
    return state.startsWith('Z') ? undefined : started.join(' ');
  } catch {
    return undefined;
  }
}

function readLines(file: string): string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch {
    return [];
  }
}

// Logs are kept over restarts, but not for ever: one previous file of at least 10 MB stays next to the current one.
function keepPrevious(logFile: string): void {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size > 10_000_000) renameSync(logFile, `${logFile}.1`);
}
