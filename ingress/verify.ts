import { createHmac, timingSafeEqual } from 'node:crypto';

/** How a vendor signs its requests, as data: adding a vendor's scheme is adding one of these. */
export interface SignatureScheme {
  /** Goes into the raw record's `scheme` header, so that the record can be verified again. */
  readonly name: string;
  readonly algorithm: 'sha256';
  readonly signature: {
    /** Lower case, as Node gives header names. */
    readonly header: string;
    readonly encoding: 'hex';
    /** Text that may stand in front of the digest. */
    readonly prefix?: string;
  };
  /** The signed time of sending; absent for a scheme that has none and so cannot refuse a replay. */
  readonly timestamp?: {
    readonly header: string;
    /** Milliseconds per unit by the number of digits; any other number of digits is malformed. */
    readonly unitMsByDigits: Readonly<Record<number, number>>;
  };
  /** What the digest is computed over, in this order without separator; the timestamp as its header's exact text. */
  readonly signs: readonly ('timestamp' | 'body')[];
}

/** How far from now a signed timestamp may be, in ms. */
export interface TimeWindow {
  readonly pastMs: number;
  readonly futureMs: number;
}

/** Request headers by lower-case name. A list with several values is a header that was sent more than once. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

export type Refusal =
  | 'no_secret'
  | 'signature_missing'
  | 'signature_ambiguous'
  | 'signature_malformed'
  | 'signature_wrong'
  | 'timestamp_missing'
  | 'timestamp_ambiguous'
  | 'timestamp_malformed'
  | 'timestamp_too_old'
  | 'timestamp_in_future';

export interface Refused {
  readonly ok: false;
  readonly reason: Refusal;
}

export interface Verified {
  readonly ok: true;
  readonly scheme: string;
  /** Which of the secrets, by its place in the list. */
  readonly secretIndex: number;
}

/** What the headers of a request say about its signature: well formed and in time, but not yet proven. */
export interface Claim {
  readonly ok: true;
  readonly scheme: SignatureScheme;
  readonly digest: Buffer;
  readonly timestamp: string;
}

/**
 * Verifies a request: a pure function of its arguments, which never throws on what a stranger can send.
 * The body is the raw bytes, unparsed. The first scheme whose signature header is present decides: a request that
 * fails its vendor's own scheme is not tried with a weaker one.
 */
export function verify(request: {
  readonly schemes: readonly SignatureScheme[];
  readonly headers: Headers;
  readonly body: Buffer;
  readonly secrets: readonly string[];
  readonly window: TimeWindow;
  readonly nowMs: number;
}): Verified | Refused {
  if (!hasSecret(request.secrets)) return refused('no_secret');
  const claim = readClaim(request.schemes, request.headers, request.window, request.nowMs);
  return claim.ok ? checkClaim(claim, request.body, request.secrets) : claim;
}

/** The first half of `verify`, which needs no body: requests that cannot verify are refused before it is read. */
export function readClaim(
  schemes: readonly SignatureScheme[],
  headers: Headers,
  window: TimeWindow,
  nowMs: number,
): Claim | Refused {
  const scheme = schemes.find(({ signature }) => isPresent(headers[signature.header]));
  if (scheme === undefined) return refused('signature_missing');
  const signature = single(headers[scheme.signature.header]);
  if (signature === undefined) return refused('signature_ambiguous');
  const digest = decodeHex(withoutPrefix(signature, scheme.signature.prefix));
  if (digest === undefined) return refused('signature_malformed');
  if (scheme.timestamp === undefined) return { ok: true, scheme, digest, timestamp: '' };

  const header = headers[scheme.timestamp.header];
  if (!isPresent(header)) return refused('timestamp_missing');
  const timestamp = single(header);
  if (timestamp === undefined) return refused('timestamp_ambiguous');
  const unitMs = /^\d+$/.test(timestamp) ? scheme.timestamp.unitMsByDigits[timestamp.length] : undefined;
  if (unitMs === undefined) return refused('timestamp_malformed');
  const ageMs = nowMs - Number(timestamp) * unitMs;
  if (ageMs > window.pastMs) return refused('timestamp_too_old');
  if (-ageMs > window.futureMs) return refused('timestamp_in_future');
  return { ok: true, scheme, digest, timestamp };
}

/** The second half of `verify`: whether one of the secrets made the digest of this body. Constant time per secret. */
export function checkClaim(claim: Claim, body: Buffer, secrets: readonly string[]): Verified | Refused {
  if (!hasSecret(secrets)) return refused('no_secret');
  for (const [secretIndex, secret] of secrets.entries()) {
    // An empty key is a valid one to HMAC: everybody knows it.
    if (secret === '') continue;
    const hmac = createHmac(claim.scheme.algorithm, secret);
    for (const part of claim.scheme.signs) hmac.update(part === 'body' ? body : claim.timestamp);
    if (timingSafeEqual(hmac.digest(), claim.digest))
      return { ok: true, scheme: claim.scheme.name, secretIndex };
  }
  return refused('signature_wrong');
}

/** The bridge's own scheme, for its simple format: `Signature: <hex>` or `Signature: sha256=<hex>` over the body. */
export const plainScheme: SignatureScheme = {
  name: 'plain',
  algorithm: 'sha256',
  signature: { header: 'signature', encoding: 'hex', prefix: 'sha256=' },
  signs: ['body'],
};

/** Whether at least one usable secret is configured; without one a route is closed. */
export function hasSecret(secrets: readonly string[]): boolean {
  return secrets.some((secret) => secret !== '');
}

function refused(reason: Refusal): Refused {
  return { ok: false, reason };
}

function isPresent(header: string | readonly string[] | undefined): boolean {
  return header !== undefined && header.length > 0;
}

// Of a header that came twice one part of the way may have believed the first and another the last.
function single(header: string | readonly string[] | undefined): string | undefined {
  if (typeof header === 'string') return header;
  return header?.length === 1 ? header[0] : undefined;
}

function withoutPrefix(text: string, prefix: string | undefined): string {
  return prefix !== undefined && text.startsWith(prefix) ? text.slice(prefix.length) : text;
}

// Buffer.from(text, 'hex') stops silently at the first wrong character, so the text is checked before.
function decodeHex(text: string): Buffer | undefined {
  return /^[0-9a-fA-F]{64}$/.test(text) ? Buffer.from(text, 'hex') : undefined;
}
