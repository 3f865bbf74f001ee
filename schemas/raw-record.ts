/**
 * The contract of the raw topics, between the ingress, which appends to them, and the topology, which reads them: the
 * record headers and what they hold.
 */

/** Headers that the ingress writes itself, all as UTF-8 text. */
export const rawHeader = {
  /** When the ingress received the request, epoch ms; also the record's timestamp. */
  receivedAt: 'received_at',
  contentType: 'content_type',
  /** Which signature scheme verified the request: `plain`, `oura`, …; `collector` for fetched documents. */
  scheme: 'scheme',
  /** Which of the vendor's configured secrets verified it, by index. */
  secret: 'secret',
  traceparent: 'traceparent',
  /** `topic:partition:offset` of the dead letter that this record repeats. */
  retryOf: 'retry_of',
  /** When it was appended again, epoch ms. */
  retriedAt: 'retried_at',
} as const;

/** Whether a record's key is not a user but a hash of its body, which names none. */
export function isHashKey(key: string): boolean {
  return /^sha256:[0-9a-f]{32}$/.test(key);
}

/** The scheme of records that another producer wrote without our headers. */
export const noScheme = 'none';
/** The scheme of documents fetched by the collector; only these are read as envelopes. */
export const collectorScheme = 'collector';

/** Longer request headers are not kept: no vendor sends any, and headers count towards the record's size. */
export const keptHeaderBytes = 1_024;

/** A raw record without its value, as normalizers see it. Another producer's record has none of our headers. */
export interface RawRecord {
  /** The vendor whose topic holds it. */
  readonly vendor: string;
  /** The user, or the hash of a body that names none. */
  readonly key: string | null;
  /** When the ingress received it, epoch ms; the record's own timestamp where the header is missing. */
  readonly receivedAt: number;
  readonly scheme: string;
  /** Whether the value may be an envelope: true only for records of the collector, whatever the value looks like. */
  readonly isEnvelope: boolean;
  /** A dead letter that was appended again: newer records may have been processed since. */
  readonly isRetry: boolean;
  /** All headers, including those that only one vendor sends. */
  readonly headers: RecordHeaders;
}

/**
 * Record headers as a Kafka client delivers them; a header that was written more than once has several values, and a
 * header need not have a value.
 */
export type RecordHeaders = Readonly<Record<string, string | Buffer | null | readonly (Buffer | null)[]>>;

/** The text of a header, of its last value where it has several; undefined when it is absent or has no value. */
export function headerText(headers: RecordHeaders, name: string): string | undefined {
  return lastValue(headers, name)?.toString();
}

/** The value of a header, the last where it has several; undefined when it is absent or has no value. */
export function lastValue(headers: RecordHeaders, name: string): string | Buffer | undefined {
  const value = headers[name];
  if (value === null || value === undefined || typeof value === 'string' || Buffer.isBuffer(value))
    return value ?? undefined;
  return value.at(-1) ?? undefined;
}

/** Reads what the ingress wrote into the headers of a raw record. */
export function readRawRecord(
  vendor: string,
  record: { readonly key: unknown; readonly timestamp: number; readonly headers: RecordHeaders },
): RawRecord {
  const { key, headers } = record;
  const scheme = headerText(headers, rawHeader.scheme) ?? noScheme;
  return {
    vendor,
    key: typeof key === 'string' ? key : null,
    receivedAt: receivedAtOf(record),
    scheme,
    isEnvelope: scheme === collectorScheme,
    isRetry: isRetry(record),
    headers,
  };
}

/** When the ingress received a raw record, epoch ms; the record's own timestamp where the header is missing. */
export function receivedAtOf(record: {
  readonly timestamp: number;
  readonly headers: RecordHeaders;
}): number {
  return instantHeader(record.headers, rawHeader.receivedAt) ?? record.timestamp;
}

/** Whether a raw record repeats a dead letter. */
export function isRetry({ headers }: { readonly headers: RecordHeaders }): boolean {
  return headerText(headers, rawHeader.retryOf) !== undefined;
}

/** When a dead letter was appended again, epoch ms; undefined for any other record, and without a readable header. */
export function retriedAtOf(record: { readonly headers: RecordHeaders }): number | undefined {
  return isRetry(record) ? instantHeader(record.headers, rawHeader.retriedAt) : undefined;
}

function instantHeader(headers: RecordHeaders, name: string): number | undefined {
  const text = headerText(headers, name);
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
