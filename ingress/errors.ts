import { STATUS_CODES, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Refusal } from './verify.ts';

/**
 * Every error that the ingress answers. Never 410: Oura takes it as the end of the subscription, for every user of
 * the application.
 */
export const problems = {
  bad_challenge: [400, 'name the query parameters verification_token and challenge, each once'],
  not_json: [400, 'the body is authentic but not JSON; it was kept as it is'],
  bad_request: [400, 'this is not a request of HTTP/1.1, or its Host header is missing'],
  incomplete_body: [400, 'the connection ended before the body was complete'],
  signature_missing: [401, 'the signature header is missing'],
  signature_ambiguous: [401, 'the signature header was sent more than once'],
  signature_malformed: [401, 'the signature header holds no SHA-256 digest in the form of this route'],
  signature_wrong: [401, 'the signature does not match the body'],
  token_missing: [401, 'the Authorization header with the bearer token is missing'],
  token_ambiguous: [401, 'the Authorization header was sent more than once'],
  token_malformed: [401, 'the Authorization header holds no bearer token of this bridge'],
  token_wrong: [401, 'the bearer token was not made with a secret of this bridge'],
  token_revoked: [401, 'the bearer token was revoked'],
  token_of_another_user: [401, 'the body names another user than the bearer token'],
  timestamp_missing: [401, 'the signed timestamp is missing'],
  timestamp_ambiguous: [401, 'the timestamp header was sent more than once'],
  timestamp_malformed: [
    401,
    'the signed timestamp is not in the unit of this route: 10 digits are s, 13 are ms',
  ],
  timestamp_too_old: [401, 'the signed timestamp is too old'],
  timestamp_in_future: [401, 'the signed timestamp lies in the future'],
  wrong_token: [401, 'the verification token is wrong'],
  not_found: [404, 'there is nothing at this path'],
  method_not_allowed: [405, 'the Allow header names the methods of this path'],
  body_too_slow: [408, 'the body paused or crawled for too long'],
  request_too_slow: [408, 'the request was not complete in time'],
  body_too_large: [413, 'the body is larger than this route takes'],
  record_too_large: [413, 'the body is larger than the log takes'],
  content_encoding: [415, 'send the body without Content-Encoding'],
  expectation: [417, 'the only expectation met here is 100-continue'],
  headers_too_large: [431, 'the request line and headers are larger than 16 KiB'],
  internal: [500, 'an unexpected failure; the log of the process names it'],
  no_secret: [503, 'no secret is configured for this route, so that nothing can be verified'],
  no_token: [503, 'no verification token is configured, so that no challenge can be answered'],
  too_busy: [503, 'too many webhooks are in hand; send it again'],
  too_many_bytes: [503, 'too many large bodies are in hand; send it again'],
  breaker_open: [503, 'the log has failed several times in a row; send it again later'],
  ack_deadline: [503, 'the log did not acknowledge in time; send it again'],
  log_failed: [503, 'the log did not take it; send it again'],
  stopping: [503, 'this process is stopping; send it again'],
  not_ready: [503, 'this process cannot do its work now'],
} as const satisfies Readonly<Record<Refusal | (string & {}), readonly [status: number, detail: string]>>;

export type ProblemCode = keyof typeof problems;

/** Extras of one answer. */
export interface ProblemOptions {
  /** When to come back, in whole seconds. */
  readonly retryAfterS?: number;
  /** The methods of the path, for method_not_allowed. */
  readonly allow?: string;
  /** Replaces the code's own text where it can say more. */
  readonly detail?: string;
}

/** The HTTP status of a problem. */
export function problemStatus(code: ProblemCode): number {
  return problems[code][0];
}

/**
 * A problem document (RFC 9457). The type is about:blank, hence the title is the status phrase; `code` is the
 * machine-readable reason.
 */
export function problemDocument(
  code: ProblemCode,
  detail: string = problems[code][1],
): { readonly status: number; readonly body: string } {
  const status = problemStatus(code);
  const document = { type: 'about:blank', title: STATUS_CODES[status], status, detail, code };
  return { status, body: JSON.stringify(document) };
}

/** Answers with a problem document. Every 503 says when to come back. */
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

/** Unread bodies up to this length are read and thrown away, so that the connection can go on. */
const drainedBytes = 64 * 1024;
/** How much of, and how long, a sender may go on sending after it was refused. */
const lingerBytes = 16 * 1024 * 1024;
const lingerMs = 5_000;

/**
 * Writes the whole answer. A sender that is still sending its body must get the answer too: closing at once would
 * reset the connection under it, so what still comes is thrown away first, within limits.
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
  const waitsForLeave = request.headers.expect !== undefined;
  if (unread <= drainedBytes || waitsForLeave) {
    response.end(request.method === 'HEAD' ? undefined : body);
    return;
  }
  response.write(body);
  linger(request, () => response.end());
}

// The length is not known of a chunked body.
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
