import { Writable } from 'node:stream';
import { pino } from 'pino';
import type { Logger } from '../../../process/log.ts';

/** A log that keeps its lines. */
export function capturedLog(): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { log: pino({ level: 'debug' }, stream), lines };
}
