import type { IncomingMessage, ServerResponse } from 'node:http';
import { problemDocument, type ProblemCode } from './errors.ts';

/** Options of one answer. */
export interface ProblemOptions {
  /** Retry-After, in whole seconds. */
  readonly retryAfterS?: number;
  /** The methods of the path, for method_not_allowed. */
  readonly allow?: string;
  /** Replaces the code's own text with a more specific one. */
  readonly detail?: string;
}

/** Answers with a problem document. Every 503 carries Retry-After. */
export function sendProblem(
  request: IncomingMessage,
  response: ServerResponse,
  code: ProblemCode,
  options: ProblemOptions = {},
): void {
  const { status, body } = problemDocument(code, options.detail);
  const headers: Record<string, string> = { 'content-type': 'application/problem+json' };
  if (status === 503) headers['retry-after'] = String(options.retryAfterS ?? 1);
  // A 401 has to name a scheme to try (RFC 9110, 15.5.2).
  if (status === 401) headers['www-authenticate'] = code.startsWith('token_') ? 'Bearer' : 'Signature';
  if (options.allow !== undefined) headers['allow'] = options.allow;
  send(request, response, status, headers, body);
}

/** Answers with JSON. */
export function sendJson(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  value: unknown,
): void {
  send(request, response, status, { 'content-type': 'application/json' }, JSON.stringify(value));
}

/** Answers with text. */
export function sendText(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  contentType: string,
  text: string,
): void {
  send(request, response, status, { 'content-type': contentType }, text);
}

/** Unread bodies up to this length are read and discarded, so that the connection stays usable. */
const drainedBytes = 64 * 1024;
/** How much, and for how long, a sender may go on sending after a refusal. */
const lingerBytes = 16 * 1024 * 1024;
const lingerMs = 5_000;

/**
 * Writes the whole answer. A sender that is still sending its body must get it too: closing at once would reset its
 * connection, so the rest of the body is read and discarded first, within limits.
 */
export function send(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
): void {
  if (response.headersSent || response.destroyed) return;
  const unread = unreadBytes(request);
  const close = unread > drainedBytes || response.getHeader('connection') === 'close';
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(close ? { connection: 'close' } : {}),
  });
  const waitsForContinue = request.headers.expect !== undefined;
  if (unread <= drainedBytes || waitsForContinue) {
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  response.write(body);
  linger(request, () => response.end());
}

// The length of a chunked body is unknown.
function unreadBytes(request: IncomingMessage): number {
  if (request.complete || request.destroyed) return 0;
  const declared = request.headers['content-length'];
  if (declared !== undefined) return Number(declared);
  return request.headers['transfer-encoding'] === undefined ? 0 : Infinity;
}

function linger(request: IncomingMessage, done: () => void): void {
  let bytes = 0;
  let ended = false;
  const timer = setTimeout(end, lingerMs);
  function end(): void {
    if (ended) return;
    ended = true;
    clearTimeout(timer);
    request.off('data', count);
    done();
  }
  function count(chunk: Buffer): void {
    bytes += chunk.length;
    if (bytes > lingerBytes) end();
  }
  request.on('data', count);
  request.once('end', end);
  request.once('close', end);
  request.resume();
}
