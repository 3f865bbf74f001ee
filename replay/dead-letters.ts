/** The dead letters of the topology: what each says of the record that failed, and finding some of them. */
import type { LogRecord } from '../kafka/record-batch.ts';
import { headerText, rawHeader, receivedAtOf } from '../schemas/raw-record.ts';
import { errorHeader } from '../streams/index.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { Deployment } from './deployment.ts';
import { recordsOf, type Position, type Watch } from './reading.ts';

/** What a dead letter says of its record, without that record's value. */
export interface DeadLetter {
  /** Of the letter itself, in the dead-letter topic. */
  readonly position: Position;
  /** Of the record that failed. */
  readonly raw: Position;
  readonly vendor: VendorName;
  /** The user, or the hash of a body that names no user; null without a key. */
  readonly key: string | null;
  /** When the ingress took the record, epoch ms. */
  readonly receivedAt: number;
  /** The operator that failed. */
  readonly operator: string;
  /** A stable code, in capitals. */
  readonly reason: string;
  /** Quotes no payload. */
  readonly message: string;
  /** The letter whose retry has failed again. */
  readonly retryOf: string | undefined;
}

/** Which letters to take; all conditions that are set must hold. */
export interface LetterFilter {
  readonly reasons?: ReadonlySet<string>;
  readonly operators?: ReadonlySet<string>;
  readonly vendors?: ReadonlySet<string>;
  readonly users?: ReadonlySet<string>;
  /** The first instant of `receivedAt`, epoch ms. */
  readonly fromMs?: number;
  /** The first instant of `receivedAt` that is too late, epoch ms. */
  readonly toMs?: number;
}

/** The dead letter that a record is; undefined for one that this deployment's topology has not written. */
export function readLetter(record: LogRecord, topics: Deployment['topics']): DeadLetter | undefined {
  const { headers, key, topic, partition, offset } = record;
  const text = (name: string): string | undefined => headerText(headers, name);
  const rawTopic = text(errorHeader.topic);
  const vendor = vendorNames.find((name) => topics.raw[name] === rawTopic);
  const rawPartition = text(errorHeader.partition) ?? '';
  const rawOffset = text(errorHeader.offset) ?? '';
  const isPlace = /^\d{1,9}$/.test(rawPartition) && /^\d{1,18}$/.test(rawOffset);
  if (rawTopic === undefined || vendor === undefined || !isPlace) return undefined;
  return {
    position: { topic, partition, offset },
    raw: { topic: rawTopic, partition: Number(rawPartition), offset: BigInt(rawOffset) },
    vendor,
    key: key?.toString() ?? null,
    receivedAt: receivedAtOf(record),
    operator: text(errorHeader.node) ?? '',
    reason: text(errorHeader.exception) ?? '',
    message: text(errorHeader.message) ?? '',
    retryOf: text(rawHeader.retryOf),
  };
}

/** Whether a letter matches a filter. */
export function isAskedFor(letter: DeadLetter, filter: LetterFilter): boolean {
  const { reasons, operators, vendors, users, fromMs = -Infinity, toMs = Infinity } = filter;
  return (
    (reasons?.has(letter.reason) ?? true) &&
    (operators?.has(letter.operator) ?? true) &&
    (vendors?.has(letter.vendor) ?? true) &&
    (users === undefined || (letter.key !== null && users.has(letter.key))) &&
    letter.receivedAt >= fromMs &&
    letter.receivedAt < toMs
  );
}

/** A letter, and the record that it is. */
export interface FoundLetter {
  readonly letter: DeadLetter;
  readonly record: LogRecord;
}

/**
 * Reads the letters of a partition that match a filter. Letters of one raw partition come in the order in which their
 * records were processed.
 * @param onForeign - called for each record that is no letter of this topology.
 */
export async function* lettersOf(
  deployment: Deployment,
  partition: number,
  filter: LetterFilter,
  watch: Watch & { readonly onForeign?: () => void },
): AsyncGenerator<FoundLetter> {
  const { topics, scanner } = deployment;
  const range = await deployment.range(topics.deadLetters, partition);
  for await (const records of recordsOf(scanner, range, watch))
    for (const record of records) {
      const letter = readLetter(record, topics);
      if (letter === undefined) watch.onForeign?.();
      else if (isAskedFor(letter, filter)) yield { letter, record };
    }
}

/** Counts of letters by device, operator and reason. */
export class LetterCounts {
  readonly #counts = new Map<
    string,
    { readonly device: string; readonly operator: string; readonly reason: string; count: number }
  >();
  total = 0;

  add({ vendor: device, operator, reason }: DeadLetter): void {
    this.total += 1;
    const key = [device, operator, reason].join('\0');
    const counted = this.#counts.get(key);
    if (counted === undefined) this.#counts.set(key, { device, operator, reason, count: 1 });
    else counted.count += 1;
  }

  /** The largest first. */
  get rows(): readonly {
    readonly device: string;
    readonly operator: string;
    readonly reason: string;
    readonly count: number;
  }[] {
    return [...this.#counts.values()].sort((a, b) => b.count - a.count);
  }
}
