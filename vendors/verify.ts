import { createHmac, createSecretKey, timingSafeEqual, type KeyObject } from 'node:crypto';
import { keptHeaderBytes } from '../schemas/raw-record.ts';
import { readBearer } from './bearer.ts';
import { type SignatureScheme, signatureFields } from './signature.ts';

/** How far from now a signed timestamp may be, in ms. */
export interface TimeWindow {
  readonly pastMs: number;
  readonly futureMs: number;
}

/** Request headers by lower-case name. A list with several values is a header that was sent more than once. */
export type Headers = Readonly<Record<string, string | readonly string[] | undefined>>;

export type Refusal =
  | 'no_secret'
  | `${'signature' | 'token'}_${'missing' | 'ambiguous' | 'malformed' | 'wrong'}`
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
  /** Index of the matching secret. */
  readonly secretIndex: number;
  /** The user of a token; absent for signatures, which identify only a vendor. */
  readonly userId?: string;
}

/** The claim of a request's headers about its origin: well formed and in time, but not verified yet. */
export interface Claim {
  readonly ok: true;
  readonly scheme: SignatureScheme;
  /** One match is enough. */
  readonly digests: readonly Buffer[];
  /** The signed texts of the headers, exactly as received; empty where the scheme has none. */
  readonly timestamp: string;
  readonly user: string;
  readonly userId: string | undefined;
}

/**
 * Verifies a request: a pure function of its arguments, which never throws, whatever an unauthenticated caller sends. The
 * body is the raw bytes, unparsed. The first scheme whose header is present decides: a request that fails its vendor's
 * own scheme is not tried with a weaker one.
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
  let foreign: Refused | undefined;
  for (const scheme of schemes) {
    if (!scheme.headers.some((name) => isPresent(headers[name]))) continue;
    const claim = claimOf(scheme, headers, window, nowMs);
    // An Authorization header without a token of ours may be a gateway's: the other headers decide.
    if (claim.ok || claim.reason !== 'token_malformed') return claim;
    foreign = claim;
  }
  return foreign ?? refused(schemes[0]?.form === 'bearer' ? 'token_missing' : 'signature_missing');
}

/** The second half of `verify`: whether one of the secrets produces one of the digests. Constant time per digest. */
export function checkClaim(claim: Claim, body: Buffer, secrets: readonly string[]): Verified | Refused {
  if (!hasSecret(secrets)) return refused('no_secret');
  const { scheme, userId } = claim;
  for (const [secretIndex, secret] of secrets.entries()) {
    // HMAC accepts an empty key, which every caller knows.
    if (secret === '') continue;
    const hmac = createHmac(scheme.algorithm, keyOf(secret));
    for (const part of scheme.signs) {
      hmac.update(part === 'body' ? body : typeof part === 'string' ? claim[part] : part.text);
    }
    const right = hmac.digest();
    if (claim.digests.some((digest) => timingSafeEqual(digest, right))) {
      const { name } = scheme;
      return userId === undefined
        ? { ok: true, scheme: name, secretIndex }
        : { ok: true, scheme: name, secretIndex, userId };
    }
  }
  return refused(`${proof(scheme)}_wrong`);
}

/** Caches configured secrets as keys, because creating one takes as long as the digest of a small body. */
const keys = new Map<string, KeyObject>();

function keyOf(secret: string): KeyObject {
  let key = keys.get(secret);
  if (key === undefined) {
    key = createSecretKey(secret, 'utf8');
    keys.set(secret, key);
  }
  return key;
}

/** Whether at least one usable secret is configured; without one a route is closed. */
export function hasSecret(secrets: readonly string[]): boolean {
  return secrets.some((secret) => secret !== '');
}

function claimOf(
  scheme: SignatureScheme,
  headers: Headers,
  window: TimeWindow,
  nowMs: number,
): Claim | Refused {
  const proofs = scheme.headers.map((name) => headers[name]);
  if (proofs.some(isDoubled)) return refused(`${proof(scheme)}_ambiguous`);
  const parts = readProof(scheme, single(proofs.find(isPresent)) ?? '');
  const digests = (parts?.digests ?? []).flatMap((text) => decodeDigest(text, scheme.encoding) ?? []);
  if (parts === undefined || digests.length === 0) return refused(`${proof(scheme)}_malformed`);
  const { user = '', userId } = parts;
  if (scheme.timestamp === undefined) return { ok: true, scheme, digests, timestamp: '', user, userId };

  const { header, unitMsByDigits } = scheme.timestamp;
  const sent = header === undefined ? parts.timestamp : headers[header];
  if (isDoubled(sent)) return refused('timestamp_ambiguous');
  const timestamp = single(sent);
  if (timestamp === undefined || timestamp === '') return refused('timestamp_missing');
  const unitMs = /^\d+$/.test(timestamp) ? unitMsByDigits[timestamp.length] : undefined;
  if (unitMs === undefined) return refused('timestamp_malformed');
  const ageMs = nowMs - Number(timestamp) * unitMs;
  if (ageMs > window.pastMs) return refused('timestamp_too_old');
  if (-ageMs > window.futureMs) return refused('timestamp_in_future');
  return { ok: true, scheme, digests, timestamp, user, userId };
}

/** The parts of a header, as texts. */
interface Proof {
  readonly digests: readonly string[];
  readonly timestamp?: string | undefined;
  readonly user?: string;
  readonly userId?: string;
}

function readProof(scheme: SignatureScheme, text: string): Proof | undefined {
  switch (scheme.form) {
    case 'digest': {
      const { prefix } = scheme;
      return {
        digests: [prefix !== undefined && text.startsWith(prefix) ? text.slice(prefix.length) : text],
      };
    }
    case 'fields': {
      // The record would not keep it, so its readers could neither verify it again nor know its time.
      if (text.length > keptHeaderBytes) return undefined;
      return { digests: signatureFields(text, 'v1'), timestamp: signatureFields(text, 't').at(-1) };
    }
    case 'bearer': {
      const token = readBearer(text);
      return token && { digests: [token.digest], user: token.signed, userId: token.userId };
    }
  }
}

const digestForms = {
  hex: /^[0-9a-fA-F]{64}$/,
  base64: /^[A-Za-z0-9+/]{43}=$/,
  base64url: /^[A-Za-z0-9_-]{43}$/,
} as const;

// Buffer.from skips invalid characters silently, so check the text before, and after for the two bits that 43 characters
// of base64 hold beyond 32 bytes.
function decodeDigest(text: string, encoding: SignatureScheme['encoding']): Buffer | undefined {
  if (!digestForms[encoding].test(text)) return undefined;
  const digest = Buffer.from(text, encoding);
  return encoding === 'hex' || digest.toString(encoding) === text ? digest : undefined;
}

function refused(reason: Refusal): Refused {
  return { ok: false, reason };
}

function proof(scheme: SignatureScheme): 'signature' | 'token' {
  return scheme.form === 'bearer' ? 'token' : 'signature';
}

type Header = Headers[string];

function isPresent(header: Header): boolean {
  return typeof header === 'string' ? header !== '' : (header ?? []).some((value) => value !== '');
}

// When a header arrives twice, one proxy may have trusted the first value and another the last.
function isDoubled(header: Header): boolean {
  return typeof header === 'object' && header.length > 1;
}

function single(header: Header): string | undefined {
  return typeof header === 'string' ? header : header?.[0];
}
