/** The processes of a bench: started in groups of their own, and all ended with it. */
import { spawn, type ChildProcess } from 'node:child_process';
import { rmSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pidFileOf } from '../../local/part.ts';
import { plainEnvironment, writePidFile } from '../../local/processes.ts';
import { projectRoot } from '../../process/root.ts';

/** A process of the bench. */
export interface Started {
  readonly name: string;
  readonly pid: number;
  /** The lines of its standard output so far. */
  readonly lines: readonly string[];
  /** Resolves with its exit code, or the signal's name, when it has ended and all its output is here. */
  readonly ended: Promise<number | string>;
  /** Both streams so far, for messages. */
  output(): string;
  /** Calls `listener` with each further line of its standard output. */
  onLine(listener: (line: string) => void): void;
  /** SIGTERM, and SIGKILL after `deadlineMs`. */
  stop(deadlineMs?: number): Promise<number | string>;
}

export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  /** On top of the environment of whoever started the bench, without what names a stack or settings of the bridge. */
  readonly env?: Readonly<Record<string, string>>;
}

/** How long a process that was asked to end may take. */
const endDeadlineMs = 30_000;

export class Processes {
  readonly #directory: string;
  readonly #running = new Set<Started>();
  #count = 0;

  /** @param directory - of the stack, whose next start ends what a killed bench has left. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Starts a process. */
  start(name: string, { command, args, env = {} }: Launch): Started {
    const child = spawn(command, args, {
      cwd: projectRoot(),
      env: { ...environment(), ...env },
      // Ctrl-C reaches the terminal's whole group at once: in groups of their own they are ended by us, in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (child.pid === undefined) {
      child.once('error', () => undefined);
      throw new Error(`${command} cannot be started: is it installed?`);
    }
    this.#count += 1;
    const pidFile = pidFileOf(this.#directory, `bench-${this.#count}-${name}`);
    mkdirSync(dirname(pidFile), { recursive: true });
    writePidFile(pidFile, child.pid);
    const started = watch(name, child, child.pid);
    this.#running.add(started);
    void started.ended.then(() => {
      this.#running.delete(started);
      rmSync(pidFile, { force: true });
    });
    return started;
  }

  /** Runs a process to its end and answers the lines of its standard output. @throws Error when it exits with another code than 0. */
  async run(name: string, launch: Launch): Promise<readonly string[]> {
    const started = this.start(name, launch);
    const code = await started.ended;
    if (code !== 0) throw new Error(failure(started, code));
    return started.lines;
  }

  /** Ends all that still run. */
  async endAll(): Promise<void> {
    await Promise.all([...this.#running].map((started) => started.stop(10_000)));
  }
}

/** The last line of JSON that a program has printed. */
export function lastJson(lines: readonly string[]): Readonly<Record<string, unknown>> {
  const line = lines.findLast((each) => each.startsWith('{'));
  if (line === undefined) throw new Error('a program ended without its line of JSON');
  return JSON.parse(line) as Record<string, unknown>;
}

/** @throws Error when `field` is no number. */
export function numberOf(json: Readonly<Record<string, unknown>>, field: string): number {
  const value = json[field];
  if (typeof value !== 'number') throw new Error(`a program's line of JSON has no number ${field}`);
  return value;
}

function watch(name: string, child: ChildProcess, pid: number): Started {
  const lines: string[] = [];
  const listeners = new Set<(line: string) => void>();
  let output = '';
  let half = '';
  const keep = (chunk: Buffer): string => {
    const text = chunk.toString('utf8');
    // Only the end is ever shown.
    output = (output + text).slice(-20_000);
    return text;
  };
  child.stderr?.on('data', keep);
  child.stdout?.on('data', (chunk: Buffer) => {
    const parts = (half + keep(chunk)).split('\n');
    half = parts.pop() ?? '';
    for (const part of parts) {
      lines.push(part);
      for (const listener of listeners) listener(part);
    }
  });
  const ended = new Promise<number | string>((resolve) => {
    child.once('close', (code, signal) => {
      if (half !== '') lines.push(half);
      resolve(signal ?? code ?? -1);
    });
  });
  const signal = (kind: NodeJS.Signals): void => {
    try {
      // The whole group: a script that is still building has children of its own.
      process.kill(-pid, kind);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  };
  const started: Started = {
    name,
    pid,
    lines,
    ended,
    output: () => output,
    onLine: (listener) => void listeners.add(listener),
    async stop(deadlineMs = endDeadlineMs) {
      signal('SIGTERM');
      const late = new AbortController();
      const killed = sleep(deadlineMs, undefined, { signal: late.signal }).then(
        () => signal('SIGKILL'),
        () => undefined,
      );
      const code = await ended;
      late.abort();
      await killed;
      return code;
    },
  };
  return started;
}

/** Why a process that ended is a failure, with the end of what it wrote. */
export function failure(started: Started, code: number | string): string {
  return `${started.name} ended with ${code}. The end of its output:\n${started.output().trimEnd().split('\n').slice(-12).join('\n')}`;
}

// What the shell of whoever measures says of the bridge must not change what is measured; a build of the peers may have
// to find a proxy or certificates.
function environment(): NodeJS.ProcessEnv {
  const network = Object.entries(process.env).filter(([name]) =>
    /^(https?|no)_proxy$|^(PIP|PYENV|MAVEN|SSL|REQUESTS)_/i.test(name),
  );
  return { ...plainEnvironment(), ...Object.fromEntries(network) };
}
