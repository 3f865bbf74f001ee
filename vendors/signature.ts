/** A part that a digest can cover; `text` is literal. */
export type SignedPart = 'timestamp' | 'user' | 'body' | { readonly text: string };

/** How a sender signs a request, as data. The facts are in docs/authentication.md. */
export interface SignatureScheme {
  /** Goes into the raw record's `scheme` header, so that the record can be verified again. */
  readonly name: string;
  /** Names of the header that holds the proof, in lower case; the first of them that is present decides. */
  readonly headers: readonly string[];
  /**
   * The form of that header:
   * `digest`: the digest, with or without `prefix` in front;
   * `fields`: `t=<timestamp>,v1=<digest>`, where several `v1` are alternatives, the last `t` counts, and other fields are
   * ignored;
   * `bearer`: `Bearer <user id in base64url>.<digest>`.
   */
  readonly form: 'digest' | 'fields' | 'bearer';
  readonly prefix?: string;
  readonly algorithm: 'sha256';
  /** Hexadecimal of either case; base64 of the standard alphabet, padded; base64url, unpadded. */
  readonly encoding: 'hex' | 'base64' | 'base64url';
  /** The parts that the digest covers, one after the other, each exactly as received. */
  readonly signs: readonly SignedPart[];
  /** The signed time of sending; absent for a scheme that has none and so cannot refuse a replay. */
  readonly timestamp?: {
    /** Its header, in lower case; absent when the header of the proof holds it. */
    readonly header?: string;
    /** Milliseconds per unit by the number of digits; any other number of digits is malformed. */
    readonly unitMsByDigits: Readonly<Record<number, number>>;
    /** The default maximum age: as long as the vendor keeps retrying. */
    readonly toleranceS: number;
  };
}

/** Units of a signed time, by its number of digits. */
export const seconds = { 10: 1_000 };
export const milliseconds = { 13: 1 };

/** The bridge's own scheme, for its simple format: `Signature: <hex>` or `Signature: sha256=<hex>`. */
export const plainSignature: SignatureScheme = {
  name: 'plain',
  headers: ['signature'],
  form: 'digest',
  prefix: 'sha256=',
  algorithm: 'sha256',
  encoding: 'hex',
  signs: ['body'],
};

/**
 * The values of a field in a signature header of the form `t=…,v1=…`. The ingress, which verifies the header, and the
 * topology, which reads its time, share this function, so that both read the time that was signed.
 */
export function signatureFields(header: string, name: string): string[] {
  return header
    .split(',')
    .map((field) => field.trim())
    .filter((field) => field.startsWith(`${name}=`))
    .map((field) => field.slice(name.length + 1));
}
