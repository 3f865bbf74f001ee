import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { StackError } from './errors.ts';
import { endProcess, lastLines, launch, livePid, type Program } from './processes.ts';

/** One piece of software of the stack: a broker, the registry, Postgres or Redis. */
export interface Part {
  /** `kafka-1`, `registry`, `postgres`, `redis`: also the names of its log and pid file. */
  readonly name: string;
  /**
   * Starts it on the same ports as before and resolves once it is healthy.
   * @returns false when it was up already and nothing was done.
   */
  start(): Promise<boolean>;
  /** Ends it: SIGTERM (the default) in order, SIGKILL as a crash. Resolves once the process is gone. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  running(): boolean;
}

export interface ProcessPart {
  readonly name: string;
  /** The directory of the stack. */
  readonly directory: string;
  /** What the start needs and its time does not count: free ports, fetched software. */
  require?(): Promise<void>;
  /** Files and formatting, before the process itself. */
  prepare?(): Promise<void> | void;
  program(): Promise<Program> | Program;
  /** Whether it does its work; throwing counts as no. */
  healthy(): Promise<boolean>;
  readonly startDeadlineMs: number;
  readonly stopDeadlineMs: number;
  /** The signal at which this software stops in order. Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  /** A part of the log that means "try the start again": what the last process left is still being cleaned up. */
  readonly transient?: string;
  onProgress(line: string): void;
  readonly signal?: AbortSignal | undefined;
}

/** A part that is one process of this machine, known by its pid file. */
export function processPart(definition: ProcessPart): Part {
  const { name, directory } = definition;
  const pidFile = pidFileOf(directory, name);
  const logFile = join(directory, 'logs', `${name}.log`);
  // Whether we stopped the process that runs now. The exit event can arrive after the next start.
  let current = { asked: false };

  const running = (): boolean => livePid(pidFile) !== undefined;

  const startOnce = async (): Promise<'up' | 'again'> => {
    let ended: string | undefined;
    let up = false;
    const run = { asked: false };
    current = run;
    const logStart = readLog().length;
    await launch(await definition.program(), { logFile, pidFile }, (how) => {
      ended = how;
      if (up && !run.asked) {
        definition.onProgress(`${name} ended unexpectedly ${how}; its log is ${shown(logFile)}`);
      }
    });
    const deadline = performance.now() + definition.startDeadlineMs;
    for (;;) {
      if (definition.signal?.aborted === true)
        throw new StackError('ABORTED', `the start of ${name} was ended`);
      if (await answers(definition)) break;
      if (!running()) {
        const { transient } = definition;
        if (transient !== undefined && readLog().subarray(logStart).includes(transient)) return 'again';
        throw failure(`ended ${ended ?? ''} before it was up`);
      }
      if (performance.now() > deadline)
        throw failure(`was not healthy within ${definition.startDeadlineMs / 1000} s`);
      // A look at a broker takes 2 ms of processor time, which three brokers that start need themselves.
      await sleep(100);
    }
    up = true;
    return 'up';
  };

  const readLog = (): Buffer => (existsSync(logFile) ? readFileSync(logFile) : Buffer.alloc(0));
  const failure = (what: string): StackError =>
    new StackError(
      'PART_FAILED',
      `${name} ${what}. The end of ${shown(logFile)}:\n${lastLines(readLog().toString())}`,
    );

  return {
    name,
    running,
    async start() {
      if (running() && (await answers(definition))) return false;
      await endProcess(pidFile, { signal: 'SIGKILL', deadlineMs: 10_000 });
      await definition.require?.();
      const began = performance.now();
      await definition.prepare?.();
      const giveUp = performance.now() + definition.startDeadlineMs;
      while ((await startOnce()) === 'again') {
        if (performance.now() > giveUp)
          throw failure(`could not start within ${definition.startDeadlineMs / 1000} s`);
        await sleep(200);
      }
      definition.onProgress(`${name} up in ${((performance.now() - began) / 1000).toFixed(1)} s`);
      return true;
    },
    async stop(signal = 'SIGTERM') {
      current.asked = true;
      await endProcess(pidFile, {
        signal: signal === 'SIGTERM' ? (definition.stopSignal ?? 'SIGTERM') : signal,
        deadlineMs: definition.stopDeadlineMs,
      });
    },
  };
}

/**
 * Ends every process that a killed run has left in the directory, except the named parts.
 * Only the holder of the directory's lock may call it: then no live process owns what runs there.
 */
export async function endStrays(
  directory: string,
  options: { readonly keep: readonly string[]; readonly onProgress: (line: string) => void },
): Promise<void> {
  const folder = join(directory, 'pids');
  const names = existsSync(folder) ? readdirSync(folder).map((file) => basename(file, '.pid')) : [];
  const strays = names.filter((name) => !options.keep.includes(name));
  await Promise.all(
    strays.map(async (name) => {
      const how = await endProcess(pidFileOf(directory, name), { signal: 'SIGTERM', deadlineMs: 10_000 });
      if (how !== 'none') options.onProgress(`${name}, left by a run that was killed, is ended`);
    }),
  );
}

/** Where a part of a stack keeps its pid. */
export function pidFileOf(directory: string, name: string): string {
  return join(directory, 'pids', `${name}.pid`);
}

/** Whether a GET of the URL is answered with 200 within 2 s. */
export async function isOk(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
  await response.body?.cancel();
  return response.status === 200;
}

async function answers(definition: ProcessPart): Promise<boolean> {
  try {
    return await definition.healthy();
  } catch {
    return false;
  }
}

/** A path for people: relative to the working directory when it lies within. */
export function shown(file: string): string {
  const path = relative(process.cwd(), file);
  return path.startsWith('..') ? file : path;
}
