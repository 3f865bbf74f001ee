/**
 * The contract between the ingress, which appends raw records, and the topology, which reads them:
 * names of the record headers and what they hold.
 */

/** Headers that the ingress writes itself, all as UTF-8 text. */
export const rawHeader = {
  /** When the ingress took the request, epoch ms; also the record's timestamp. */
  receivedAt: 'received_at',
  contentType: 'content_type',
  /** Which signature scheme verified the request: `plain`, `oura`, …; `collector` for fetched documents. */
  scheme: 'scheme',
  /** Which of the vendor's configured secrets verified it, by index. */
  secret: 'secret',
  traceparent: 'traceparent',
} as const;

/** Whether a record's key is not a user but, for want of one, a hash of its body. */
export function isHashKey(key: string): boolean {
  return /^sha256:[0-9a-f]{32}$/.test(key);
}

/**
 * The values of a field in a signature header that is written `t=…,v1=…`. Verification and topology read it with this
 * one function: a time that one of them found elsewhere would be signed by nobody.
 */
export function signatureFields(header: string, name: string): string[] {
  return header
    .split(',')
    .map((field) => field.trim())
    .filter((field) => field.startsWith(`${name}=`))
    .map((field) => field.slice(name.length + 1));
}

/** The scheme of records that another producer wrote without our headers. */
export const noScheme = 'none';
/** The scheme of documents fetched by the collector; only these are read as envelopes. */
export const collectorScheme = 'collector';

/** A request header that is longer is not kept: no vendor's is, and headers count into the record's size. */
export const keptHeaderBytes = 1_024;
