import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { soon } from '../streams/until.ts';
import type { WorkerSettings } from './topology-worker.ts';

const program = fileURLToPath(new URL('./topology-worker.ts', import.meta.url));

/** A topology worker as a process; signals go to it and to nobody else. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;
  #output = '';
  #errors = '';
  #onOutput: () => void = () => undefined;

  constructor(settings: WorkerSettings) {
    this.#child = spawn(process.execPath, ['--import', 'tsx', program, JSON.stringify(settings)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#ended = once(this.#child, 'exit');
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      this.#output += chunk.toString();
      this.#onOutput();
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString();
    });
  }

  /** What it wrote to standard error. */
  get errors(): string {
    return this.#errors;
  }

  /** Waits until it has its tasks. */
  running(): Promise<void> {
    return this.#says('RUNNING');
  }

  /** Stops it in the middle of a transaction; SIGCONT wakes it. */
  async sleep(): Promise<void> {
    this.#child.kill('SIGUSR2');
    await this.#says('SLEEPING');
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for its end and answers how it ended. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    await soon('the end of the worker', this.#ended);
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  #says(word: string): Promise<void> {
    const said = new Promise<void>((resolve, reject) => {
      this.#onOutput = () => {
        if (this.#output.includes(word)) resolve();
      };
      this.#onOutput();
      void this.#ended.then(() => reject(new Error(`the worker ended before ${word}: ${this.#errors}`)));
    });
    return soon(`${word} of the worker`, said);
  }

  /** Ends it in any case. */
  async dispose(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill('SIGKILL');
    await this.ended();
  }
}
