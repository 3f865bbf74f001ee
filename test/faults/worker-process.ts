import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { projectRoot } from '../../process/root.ts';
import { testProgram } from '../bridge-program.ts';
import { soon, until } from '../streams/until.ts';
import type { WorkerSettings } from './topology-worker.ts';

/** A topology worker as a process; signals go to it alone. */
export class WorkerProcess {
  readonly instanceId: string;
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #output = '';
  #errors = '';

  /** @param folder - the checkout whose topology it runs, with the packages of that checkout. */
  constructor(instanceId: string, settings: WorkerSettings, folder = projectRoot()) {
    this.instanceId = instanceId;
    const program = testProgram('faults/topology-worker', folder);
    this.#child = spawn(process.execPath, [...program, JSON.stringify(settings)], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#ended = once(this.#child, 'exit');
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
  }

  /** The lines of its standard output so far: states, `RESTORED task records`, `SLEEPING`. */
  get lines(): readonly string[] {
    return this.#output.split('\n').slice(0, -1);
  }

  /** Its log so far, from info up: a JSON object per line. */
  get log(): string {
    return this.#errors;
  }

  /** Its last state; undefined before the first. */
  get state(): string | undefined {
    return this.lines.findLast((line) => /^[A-Z_]+$/.test(line) && line !== 'SLEEPING');
  }

  get isAlive(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Waits until it has its tasks, all of them restored. */
  async running(timeoutMs = 60_000): Promise<void> {
    await this.#until('RUNNING', () => this.state === 'RUNNING' || undefined, timeoutMs);
  }

  /** Stops it inside a transaction; SIGCONT wakes it. */
  async sleep(): Promise<void> {
    const before = this.#sleeps;
    this.signal('SIGUSR2');
    await this.#until('SLEEPING', () => this.#sleeps > before || undefined);
  }

  get #sleeps(): number {
    return this.lines.filter((line) => line === 'SLEEPING').length;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Kills it at once and waits until it is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.ended();
  }

  /** Waits for its end and answers how it ended. */
  async ended(timeoutMs = 60_000): Promise<number | NodeJS.Signals | null> {
    await soon(`the end of worker ${this.instanceId}`, this.#ended, timeoutMs).catch((error: unknown) => {
      throw new Error(`worker ${this.instanceId} does not end:\n${this.log.slice(-4_000)}`, { cause: error });
    });
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  /** Has it drain and waits for its end. @throws Error with its log when it does not end as it should. */
  async stop(): Promise<void> {
    this.signal('SIGTERM');
    const end = await this.ended(20_000);
    // A forgotten handle would have kept it alive for ever.
    if (end !== 0 || this.log.includes('holds the process'))
      throw new Error(`worker ${this.instanceId} ended with ${String(end)}:\n${this.log}`);
  }

  /** Ends it in any case. */
  async dispose(): Promise<void> {
    if (this.isAlive) this.signal('SIGKILL');
    await this.ended();
  }

  async #until(what: string, ask: () => true | undefined, timeoutMs?: number): Promise<void> {
    await until(
      `${what} of worker ${this.instanceId}`,
      () => {
        if (!this.isAlive)
          throw new Error(`worker ${this.instanceId} ended before ${what}:\n${this.log.slice(-4_000)}`);
        return ask();
      },
      timeoutMs,
    ).catch((error: unknown) => {
      throw new Error(`worker ${this.instanceId} is ${String(this.state)}:\n${this.log.slice(-4_000)}`, {
        cause: error,
      });
    });
  }
}
