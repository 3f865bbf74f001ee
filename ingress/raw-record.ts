import { createHash, randomBytes } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { keptHeaderBytes, noScheme, rawHeader } from '../schemas/raw-record.ts';
import type { AppendRecord } from '../kafka/append-batch.ts';
import { keyPartition } from '../kafka/client.ts';

/** The parts of a request that go into the record's headers. */
export interface RequestFacts {
  readonly receivedAtMs: number;
  readonly headers: IncomingHttpHeaders;
  /** Names of headers to keep verbatim, lower case; a trailing `*` matches any ending. */
  readonly keptHeaders: readonly string[];
  /** The scheme and secret that verified the request; absent for the unsigned test webhook. */
  readonly verified?: { readonly scheme: string; readonly secretIndex: number };
}

/** Builds the record of a webhook; the key decides the partition as in Kafka's own clients. */
export function rawRecord(
  where: { readonly topic: string; readonly partitions: number },
  key: Buffer,
  body: Buffer,
  facts: RequestFacts,
): AppendRecord {
  return {
    topic: where.topic,
    partition: keyPartition(key, where.partitions),
    key,
    value: body,
    timestampMs: facts.receivedAtMs,
    headers: rawHeaders(facts),
  };
}

/** Builds the record of the unsigned test webhook, without a key, for the partition that the caller chooses. */
export function testRecord(
  where: { readonly topic: string; readonly partition: number },
  body: Buffer,
  facts: RequestFacts,
): AppendRecord {
  return { ...where, key: null, value: body, timestampMs: facts.receivedAtMs, headers: rawHeaders(facts) };
}

/** The key of a record without a user: a body that is sent again goes to the same partition. */
export function hashKey(body: Buffer): Buffer {
  return Buffer.from(`sha256:${createHash('sha256').update(body).digest('hex').slice(0, 32)}`);
}

function rawHeaders(facts: RequestFacts): Record<string, Buffer> {
  const headers: Record<string, Buffer> = {
    [rawHeader.receivedAt]: Buffer.from(String(facts.receivedAtMs)),
    [rawHeader.scheme]: Buffer.from(facts.verified?.scheme ?? noScheme),
    [rawHeader.traceparent]: Buffer.from(traceparent(facts.headers['traceparent'])),
  };
  if (facts.verified !== undefined)
    headers[rawHeader.secret] = Buffer.from(String(facts.verified.secretIndex));
  keep(headers, rawHeader.contentType, facts.headers['content-type']);
  for (const name of facts.keptHeaders) {
    if (!name.endsWith('*')) {
      keep(headers, name, facts.headers[name]);
      continue;
    }
    for (const present of Object.keys(facts.headers)) {
      if (present.startsWith(name.slice(0, -1))) keep(headers, present, facts.headers[present]);
    }
  }
  return headers;
}

function keep(headers: Record<string, Buffer>, name: string, value: string | string[] | undefined): void {
  // Never store credentials, whatever headers a vendor keeps.
  if (value === undefined || name === 'authorization') return;
  // Node reads header bytes as Latin-1, so this restores the bytes that were sent.
  const bytes = Buffer.from(Array.isArray(value) ? value.join(', ') : value, 'latin1');
  if (bytes.length <= keptHeaderBytes) headers[name] = bytes;
}

const validTraceparent = /^[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

// W3C Trace Context: a request without a valid parent starts a new trace.
function traceparent(header: string | string[] | undefined): string {
  if (typeof header === 'string' && validTraceparent.test(header)) return header;
  return `00-${randomHex(16)}-${randomHex(8)}-00`;
}

// Fetch random bytes for some hundred requests at once: the call costs more than the bytes.
let pool = Buffer.alloc(0);
let taken = 0;

function randomHex(bytes: number): string {
  if (taken + bytes > pool.length) {
    pool = randomBytes(4_096);
    taken = 0;
  }
  taken += bytes;
  return pool.toString('hex', taken - bytes, taken);
}
