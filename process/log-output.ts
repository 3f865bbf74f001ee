import { writeSync } from 'node:fs';

/** How much may wait while standard output takes nothing. Later lines are dropped. */
const maxWaitingBytes = 1024 * 1024;
const retryMs = 20;
/** How long the end of the process waits for a reader that lags. */
const exitMs = 500;

/**
 * Standard output as the destination of a log. Each line is written at once, as long as that does not block. A line that
 * cannot be written (a full disk, a pipe that is not read or closed) waits in memory, up to 1 MiB; further lines are
 * dropped and counted. Once writing works again, a line reports how many were dropped.
 */
export class LogOutput {
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isRetrying = false;
  /** Dropped lines that no line reports yet. */
  #unreported = 0;
  /** Lines that were dropped since the start. */
  dropped = 0;

  constructor() {
    // Node switches a pipe or socket to non-blocking when it creates the stream, at the first access.
    process.stdout.on('error', () => undefined);
    process.on('exit', () => this.#flushAtExit());
  }

  /** Writes a line, keeps it for later or drops it. Never throws and never blocks on a reader. */
  write(line: string): void {
    if (this.#waitingBytes >= maxWaitingBytes) {
      this.dropped += 1;
      this.#unreported += 1;
    } else {
      this.#keep(line);
    }
    this.#flush();
  }

  #keep(line: string): void {
    const bytes = Buffer.from(line);
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
  }

  /** Writes what waits. Returns the code of the error that stopped it. */
  #flush(): string | undefined {
    try {
      for (let line; (line = this.#waiting[0]) !== undefined;) {
        const written = writeSync(1, line);
        this.#waitingBytes -= written;
        if (written < line.length) this.#waiting[0] = line.subarray(written);
        else this.#waiting.shift();
        if (this.#waiting.length === 0) this.#report();
      }
      return undefined;
    } catch (error) {
      if (!this.#isRetrying) setTimeout(() => this.#retry(), retryMs).unref();
      this.#isRetrying = true;
      return (error as NodeJS.ErrnoException).code ?? 'unknown';
    }
  }

  #retry(): void {
    this.#isRetrying = false;
    this.#flush();
  }

  #report(): void {
    if (this.#unreported === 0) return;
    const time = new Date().toISOString();
    const fields = { level: 'warn', time, pid: process.pid, lines: this.#unreported };
    this.#unreported = 0;
    this.#keep(
      `${JSON.stringify({ ...fields, msg: 'log lines were dropped: the log could not be written' })}\n`,
    );
  }

  #flushAtExit(): void {
    const until = performance.now() + exitMs;
    const pause = new Int32Array(new SharedArrayBuffer(4));
    while (this.#flush() === 'EAGAIN' && performance.now() < until) Atomics.wait(pause, 0, 0, 10);
  }
}
