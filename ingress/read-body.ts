import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Lease } from './admission.ts';

/** Bodies up to this size take nothing from the byte budget: the admission queue bounds them. */
export const smallBodyBytes = 64 * 1024;

export type BodyFault = 'body_too_large' | 'too_many_bytes' | 'body_too_slow' | 'incomplete_body';

export type ReadBody =
  { readonly ok: true; readonly body: Buffer } | { readonly ok: false; readonly code: BodyFault };

/** The length a request declares; undefined for a chunked body, 0 for a request without one. */
export function declaredLength(request: IncomingMessage): number | undefined {
  const declared = request.headers['content-length'];
  if (declared !== undefined) return Number(declared);
  return request.headers['transfer-encoding'] === undefined ? 0 : undefined;
}

/** The slowest arrival of a body that is accepted. */
export interface Pace {
  /** The longest pause; also the time after which the speed counts. */
  readonly idleMs: number;
  /** Lowest average over the body so far, in bytes per second. */
  readonly bytesPerSecond: number;
}

/**
 * Reads the whole body into memory within `maxBytes`, taking the bytes of large ones from `lease`: all up front when the
 * length is declared, else as they arrive. Sends `100 Continue` to a sender that asked for it. Leaves the rest of the
 * body unread after a fault.
 */
export function readBody(
  request: IncomingMessage,
  response: ServerResponse,
  options: { readonly maxBytes: number; readonly lease: Lease; readonly pace: Pace },
): Promise<ReadBody> {
  const { maxBytes, lease, pace } = options;
  const declared = declaredLength(request);
  if (declared !== undefined && declared > maxBytes)
    return Promise.resolve({ ok: false, code: 'body_too_large' });
  const leasedUpFront = declared !== undefined && declared > smallBodyBytes;
  if (leasedUpFront && !lease.take(declared)) return Promise.resolve({ ok: false, code: 'too_many_bytes' });
  if (request.destroyed) return Promise.resolve({ ok: false, code: 'incomplete_body' });
  if (request.headers.expect !== undefined) {
    response.writeContinue();
    // Without the header it counts, like any other, as a sender that may be in the middle of its body.
    delete request.headers.expect;
  }

  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let leased = leasedUpFront ? declared : 0;
    const startedAt = performance.now();
    const idle = setTimeout(() => finish({ ok: false, code: 'body_too_slow' }), pace.idleMs);

    function onData(chunk: Buffer): void {
      idle.refresh();
      bytes += chunk.length;
      // A trickle of bytes would hold a place as long as silence would.
      const ms = performance.now() - startedAt;
      if (ms > pace.idleMs && bytes * 1_000 < ms * pace.bytesPerSecond)
        return finish({ ok: false, code: 'body_too_slow' });
      if (bytes > maxBytes) return finish({ ok: false, code: 'body_too_large' });
      if (bytes > smallBodyBytes && bytes > leased) {
        if (!lease.take(bytes - leased)) return finish({ ok: false, code: 'too_many_bytes' });
        leased = bytes;
      }
      chunks.push(chunk);
    }
    function onEnd(): void {
      const [only] = chunks;
      finish({
        ok: true,
        body: chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks, bytes),
      });
    }
    function onClose(): void {
      finish({ ok: false, code: 'incomplete_body' });
    }
    function finish(result: ReadBody): void {
      clearTimeout(idle);
      request.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose);
      // An aborted request still emits an error, which is already reported.
      request.on('error', () => undefined);
      if (!result.ok) request.pause();
      resolve(result);
    }
    request.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose);
  });
}
