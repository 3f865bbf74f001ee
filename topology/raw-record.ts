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

/** The scheme of records that another producer wrote without our headers. */
export const noScheme = 'none';
/** The scheme of documents fetched by the collector; only these are read as envelopes. */
export const collectorScheme = 'collector';

/** A request header that is longer is not kept: no vendor's is, and headers count into the record's size. */
export const keptHeaderBytes = 1_024;
