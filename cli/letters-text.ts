/** Dead letters as text and as JSON. */
import { isUtf8 } from 'node:buffer';
import type { LogRecord } from '../kafka/record-batch.ts';
import type { DeadLetter, LetterCounts } from '../replay/dead-letters.ts';
import { positionName } from '../replay/reading.ts';
import type { Outcome, Retried } from '../replay/retry.ts';
import { lastValue, rawHeader } from '../schemas/raw-record.ts';
import { errorHeader } from '../streams/index.ts';

/** One line of a list. */
export function letterLine(letter: DeadLetter): string {
  const { position, raw, receivedAt, operator, reason, message } = letter;
  return `${positionName(position)}  ${positionName(raw)}  ${instantText(receivedAt)}  ${operator}  ${reason}: ${message}`;
}

export function letterJson(letter: DeadLetter): string {
  return JSON.stringify(letterFields(letter));
}

export function letterFields(letter: DeadLetter): Record<string, unknown> {
  const { position, raw, vendor, receivedAt, operator, reason, message, retryOf } = letter;
  return {
    letter: positionName(position),
    raw: positionName(raw),
    device: vendor,
    received_at: instantText(receivedAt),
    operator,
    reason,
    message,
    ...(retryOf === undefined ? {} : { retry_of: retryOf }),
  };
}

/** Counts as a table. */
export function table(rows: LetterCounts['rows']): string {
  const head = { device: 'device', operator: 'operator', reason: 'reason', count: 'letters' };
  const columns = ['device', 'operator', 'reason', 'count'] as const;
  const cells = [head, ...rows].map((row) => columns.map((column) => String(row[column])));
  const widths = columns.map((_, at) => Math.max(...cells.map((row) => row[at]?.length ?? 0)));
  return cells
    .map((row) =>
      row
        .map((cell, at) => (at === 3 ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0)))
        .join('  '),
    )
    .join('\n');
}

/** One letter as `show` prints it. */
export interface ShownLetter {
  readonly [field: string]: unknown;
  /** By name: the value, or its size for a header of the vendor. */
  readonly headers: Readonly<Record<string, string | { readonly bytes: number }>>;
}

const ownHeaders: ReadonlySet<string> = new Set([...Object.values(rawHeader), ...Object.values(errorHeader)]);

/** @param values - whether to show the body, and the values of headers that the vendor has sent. */
export function shownLetter(letter: DeadLetter, record: LogRecord, values: boolean): ShownLetter {
  const { value, timestamp } = record;
  return {
    ...letterFields(letter),
    key: letter.key,
    timestamp: instantText(timestamp),
    bytes: value?.length ?? null,
    headers: Object.fromEntries(
      Object.keys(record.headers).map((name) => {
        const header = lastValue(record.headers, name) ?? '';
        return [name, values || ownHeaders.has(name) ? header.toString() : { bytes: header.length }];
      }),
    ),
    ...(values ? { body: bodyText(value) } : {}),
  };
}

/** Text where the bytes are UTF-8, else base64. */
function bodyText(value: Buffer | null): string | { readonly base64: string } | null {
  if (value === null) return null;
  return isUtf8(value) ? value.toString() : { base64: value.toString('base64') };
}

export function letterText({ headers, body, ...fields }: ShownLetter): string {
  const rows: [string, unknown][] = Object.entries(fields);
  const width = Math.max(...rows.map(([name]) => name.length));
  const headerWidth = Math.max(0, ...Object.keys(headers).map((name) => name.length));
  return [
    ...rows.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`),
    'headers',
    ...Object.entries(headers).map(
      ([name, value]) =>
        `  ${name.padEnd(headerWidth)}  ${typeof value === 'string' ? printable(value) : `(${value.bytes} bytes)`}`,
    ),
    ...(body === undefined ? [] : ['body', `  ${printable(body)}`]),
  ].join('\n');
}

/** A value as one line that moves no cursor: a sender chooses keys, headers and bodies. */
export function printable(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.replaceAll(/\p{Cc}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** What was done with a letter, and what comes of it. */
export function retriedLines({ letter, did, why, outcome, notes }: Retried): string {
  const { position, raw, reason, operator } = letter;
  const done = {
    previewed: 'to append',
    appended: 'appended',
    already_retried: `appended before, as ${why ?? ''}: --again appends it once more`,
    not_retriable: `cannot be retried: ${why ?? ''}`,
    refused: `the broker refuses it: ${why ?? ''}`,
  } as const;
  return [
    `${positionName(position)}  ${positionName(raw)}  ${reason} at ${operator}: ${done[did]}`,
    ...(outcome === undefined ? [] : outcomeLines(outcome)),
    ...notes.map((note) => `  ${note}`),
  ].join('\n');
}

export function outcomeLines({ events, deadLetters, dropped }: Outcome): string[] {
  const lines = [
    ...events.map(
      ({ topic, priority, triggers, eventId }) =>
        `  event to ${topic}, ${priority}, ${triggers.length === 0 ? 'no trigger' : `triggers ${triggers.join(', ')}`}, event_id ${eventId}`,
    ),
    ...deadLetters.map(
      ({ operator, reason, message }) => `  dead letter again: ${reason} at operator ${operator}, ${message}`,
    ),
    ...dropped.map(
      ({ node, reason, count }) =>
        `  ${count === 1 ? '' : `${count} times `}dropped by operator ${node}: ${reason}`,
    ),
  ];
  return lines.length === 0 ? ['  no event: it holds no items'] : lines;
}

export function retriedJson({ letter, did, why, outcome, notes }: Retried): string {
  return JSON.stringify({
    ...letterFields(letter),
    did,
    ...(why === undefined ? {} : { why }),
    ...(outcome === undefined ? {} : { outcome: outcomeJson(outcome) }),
    ...(notes.length === 0 ? {} : { notes }),
  });
}

export function outcomeJson({ events, deadLetters, dropped }: Outcome): Record<string, unknown> {
  return {
    events: events.map(({ topic, priority, eventId, triggers }) => ({
      topic,
      priority,
      event_id: eventId,
      triggers,
    })),
    dead_letters: deadLetters,
    dropped: dropped.map(({ node, reason, count }) => ({ operator: node, reason, count })),
  };
}

export function instantText(epochMs: number): string {
  return Math.abs(epochMs) <= 8.64e15 ? new Date(epochMs).toISOString() : `${epochMs} ms`;
}
