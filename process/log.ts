import { pino, type Logger } from 'pino';

export type { Logger };

/**
 * Creates the structured log of a process: one JSON line per entry on standard output. Entries carry operator, topic,
 * partition and offset where they have them; never a body, a secret, a health value or a user id. Of an error they carry
 * only name, code and our own message: foreign messages may quote their input.
 */
export function createLog(options: { name: string; level: string }): Logger {
  return pino({
    name: options.name,
    level: options.level,
    base: { pid: process.pid },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  });
}
