import type { NeurosLog } from './options.ts';

/** Warnings and errors as JSON lines on standard error. */
export const defaultLog: NeurosLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: (fields, message) => write('warn', fields, message),
  error: (fields, message) => write('error', fields, message),
};

function write(level: string, fields: object, message: string): void {
  const time = new Date().toISOString();
  process.stderr.write(`${JSON.stringify({ level, time, name: 'neuros', ...fields, msg: message })}\n`);
}
