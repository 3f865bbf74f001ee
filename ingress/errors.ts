import { STATUS_CODES } from 'node:http';
import type { Refusal } from '../vendors/verify.ts';

/** Every error that the ingress answers with. Never 410, which Oura takes as the end of the subscription for every user. */
export const problems = {
  bad_challenge: [400, 'send the query parameters verification_token and challenge, each exactly once'],
  not_json: [400, 'the body is authentic but not JSON; it was kept as it is'],
  bad_request: [400, 'this is not a valid HTTP/1.1 request, or its Host header is missing'],
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
  timestamp_in_future: [401, 'the signed timestamp is in the future'],
  wrong_token: [401, 'the verification token is wrong'],
  not_found: [404, 'nothing is served at this path'],
  method_not_allowed: [405, 'the Allow header names the methods of this path'],
  body_too_slow: [408, 'the body paused for too long or arrived too slowly'],
  request_too_slow: [408, 'the request was not complete in time'],
  body_too_large: [413, 'the body is larger than this route accepts'],
  record_too_large: [413, 'the body is larger than the log accepts'],
  content_encoding: [415, 'send the body without Content-Encoding'],
  expectation: [417, 'the only supported expectation is 100-continue'],
  headers_too_large: [431, 'the request line and headers are larger than 16 KiB'],
  internal: [500, 'an unexpected failure; see the log of the process'],
  no_secret: [503, 'no secret is configured for this route, so nothing can be verified'],
  no_token: [503, 'no verification token is configured, so no challenge can be answered'],
  too_busy: [503, 'too many webhooks are being processed; send it again'],
  too_many_bytes: [503, 'too many large bodies are in memory; send it again'],
  breaker_open: [503, 'the log has failed several times in a row; send it again later'],
  ack_deadline: [503, 'the log did not acknowledge in time; send it again'],
  log_failed: [503, 'the log did not accept it; send it again'],
  stopping: [503, 'this process is stopping; send it again'],
  not_ready: [503, 'this process cannot do its work now'],
} as const satisfies Readonly<Record<Refusal | (string & {}), readonly [status: number, detail: string]>>;

export type ProblemCode = keyof typeof problems;

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
