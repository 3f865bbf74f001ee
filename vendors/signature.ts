/** What a digest can be computed over; a text stands for itself. */
export type SignedPart = 'timestamp' | 'user' | 'body' | { readonly text: string };

/** How a sender proves that a request is its own, as data: adding a vendor's scheme is adding one of these. */
export interface SignatureScheme {
  /** Goes into the raw record's `scheme` header, so that the record can be verified again. */
  readonly name: string;
  /** Names of the header that holds the proof, in lower case; the first of them that is present decides. */
  readonly headers: readonly string[];
  /**
   * How that header is written:
   * `digest`: the digest, with `prefix` in front of it or not;
   * `fields`: `t=<timestamp>,v1=<digest>`, where further `v1` are further digests of which one has to be right, the
   * last `t` counts, and other fields mean nothing;
   * `bearer`: `Bearer <user id in base64url>.<digest>`.
   */
  readonly form: 'digest' | 'fields' | 'bearer';
  readonly prefix?: string;
  readonly algorithm: 'sha256';
  /** Hexadecimal of either case; base64 of the standard alphabet, padded; base64url, unpadded. */
  readonly encoding: 'hex' | 'base64' | 'base64url';
  /** What the digest is computed over, one after the other, each exactly as it came. */
  readonly signs: readonly SignedPart[];
  /** The signed time of sending; absent for a scheme that has none and so cannot refuse a replay. */
  readonly timestamp?: {
    /** Its header, in lower case; absent when the header of the proof holds it. */
    readonly header?: string;
    /** Milliseconds per unit by the number of digits; any other number of digits is malformed. */
    readonly unitMsByDigits: Readonly<Record<number, number>>;
    /** How old it may be unless configured otherwise: as long as the vendor goes on to retry. */
    readonly toleranceS: number;
  };
}

const seconds = { 10: 1_000 };
const milliseconds = { 13: 1 };

/** Every scheme there is. The facts are in docs/authentication.md. */
export const schemes = {
  /** Oura leaves the unit open: captured deliveries carry milliseconds, public verifiers assume seconds. */
  oura: {
    name: 'oura',
    headers: ['x-oura-signature'],
    form: 'digest',
    algorithm: 'sha256',
    encoding: 'hex',
    signs: ['timestamp', 'body'],
    timestamp: {
      header: 'x-oura-timestamp',
      unitMsByDigits: { ...seconds, ...milliseconds },
      toleranceS: 4_500,
    },
  },
  whoop: {
    name: 'whoop',
    headers: ['x-whoop-signature'],
    form: 'digest',
    algorithm: 'sha256',
    encoding: 'base64',
    signs: ['timestamp', 'body'],
    timestamp: {
      header: 'x-whoop-signature-timestamp',
      unitMsByDigits: milliseconds,
      toleranceS: 4_500,
    },
  },
  /** The platform sends its new header and the older one with the same value; an older one may come alone. */
  terra: {
    name: 'terra',
    headers: ['x-terra-signature', 'terra-signature'],
    form: 'fields',
    algorithm: 'sha256',
    encoding: 'hex',
    signs: ['timestamp', { text: '.' }, 'body'],
    timestamp: { unitMsByDigits: seconds, toleranceS: 90_000 },
  },
  /** A token of the bridge's own, for a phone that can send a fixed header but cannot sign. */
  bearer: {
    name: 'bearer',
    headers: ['authorization'],
    form: 'bearer',
    algorithm: 'sha256',
    encoding: 'base64url',
    signs: ['user'],
  },
  /** The bridge's own scheme, for its simple format: `Signature: <hex>` or `Signature: sha256=<hex>`. */
  plain: {
    name: 'plain',
    headers: ['signature'],
    form: 'digest',
    prefix: 'sha256=',
    algorithm: 'sha256',
    encoding: 'hex',
    signs: ['body'],
  },
} as const satisfies Readonly<Record<string, SignatureScheme>>;
