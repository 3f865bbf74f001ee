/** Verifies the stored signature of a raw record, with the code and the secrets of the ingress. */
import type { LogRecord } from '../kafka/record-batch.ts';
import { collectorScheme, headerText, noScheme, rawHeader } from '../schemas/raw-record.ts';
import { plainSignature, type SignatureScheme } from '../vendors/signature.ts';
import { vendors, type VendorName } from '../vendors/index.ts';
import { checkClaim, hasSecret, readClaim } from '../vendors/verify.ts';

/** What a fresh verification finds. */
export interface Verification {
  readonly scheme: string;
  /** Which secret verified the request, by its index then; undefined where the record does not say. */
  readonly secretIndex: number | undefined;
  readonly result: 'verified' | 'not_verified' | 'cannot_verify';
  /** The reason, or which secret verified it. Quotes neither secret nor signature. */
  readonly reason: string;
}

/** At any age: the ingress has judged that. */
const anyTime = { pastMs: Infinity, futureMs: Infinity };

/**
 * Verifies the stored bytes of a record against its stored signature.
 * @param secrets - of its vendor, as configured now.
 */
export function verifyStored(
  { headers, value }: Pick<LogRecord, 'headers' | 'value'>,
  vendor: VendorName,
  secrets: readonly string[],
): Verification {
  const scheme = headerText(headers, rawHeader.scheme) ?? noScheme;
  const index = headerText(headers, rawHeader.secret);
  const secretIndex = index !== undefined && /^\d{1,4}$/.test(index) ? Number(index) : undefined;
  const answer = (result: Verification['result'], reason: string): Verification => ({
    scheme,
    secretIndex,
    result,
    reason,
  });
  const { webhook } = vendors[vendor];
  const known: readonly SignatureScheme[] = [...webhook.schemes, plainSignature];
  const used = known.find(({ name }) => name === scheme);
  if (scheme === collectorScheme)
    return answer('cannot_verify', 'the collector fetched it: nothing was signed');
  if (used === undefined) return answer('cannot_verify', `no scheme of ${vendor} has this name`);
  if (!used.signs.includes('body'))
    return answer('cannot_verify', 'a token proves the sender, covers no body, and is never stored');
  if (!hasSecret(secrets)) return answer('cannot_verify', `${webhook.secret} is not set`);
  const kept = Object.fromEntries(Object.keys(headers).map((name) => [name, headerText(headers, name)]));
  const claim = readClaim([used], kept, anyTime, 0);
  if (!claim.ok)
    return answer('cannot_verify', `the record does not hold a usable signature: ${claim.reason}`);
  const verified = checkClaim(claim, value ?? Buffer.alloc(0), secrets);
  if (verified.ok) return answer('verified', `by secret ${verified.secretIndex} of ${webhook.secret}`);
  return answer(
    'not_verified',
    `by none of the secrets of ${webhook.secret}: the one that verified it was replaced since, or the bytes were changed`,
  );
}
