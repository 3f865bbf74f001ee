import { pino, type Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import { LogOutput } from './log-output.ts';

export type { Logger };

/** One for all logs of the process, so that their lines stay in order. */
let output: LogOutput | undefined;

/**
 * Creates the structured log of a process: one JSON line per entry on standard output. Entries carry operator, topic,
 * partition and offset where they have them; never a body, a secret, a health value or a user id. Of an error they carry
 * only name, code and our own message: foreign messages may quote their input.
 */
export function createLog(options: { name: string; level: string }): Logger {
  output ??= new LogOutput();
  return pino(
    {
      name: options.name,
      level: options.level,
      base: { pid: process.pid },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    output,
  );
}

/** Adds the count of lines that the logs of this process could not write. */
export function countDroppedLines(registry: Registry): void {
  new Counter({
    name: 'bridge_log_lines_dropped_total',
    help: 'Log lines dropped because standard output took none: a full disk, or a pipe that is not read',
    registers: [registry],
    collect() {
      this.reset();
      this.inc(output?.dropped ?? 0);
    },
  });
}
