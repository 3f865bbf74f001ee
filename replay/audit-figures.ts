/** What an audit counts: the one end of each raw record, the outputs, and the exceptions. */
import { byVendor, type VendorName } from '../vendors/index.ts';

/** The ends of raw records: each has exactly one. */
export const ends = [
  /** At least one event, and nothing else. */
  'events',
  /** Events, and the dead letter of what could not be read. By its code. */
  'partly',
  /** By code. */
  'dead letters',
  /** No output, by a policy that the audit has recomputed: by operator and reason. */
  'drops',
  /** Not processed yet. */
  'pending',
  /** What is there, or missing, may be right, but nothing that is left can prove it. By reason. */
  'unprovable',
  /** By the kind of its first exception. */
  'exceptions',
] as const;

export type End = (typeof ends)[number];

/** What an audit can find to be wrong. */
export const exceptionKinds = {
  lost: 'an output is missing, and nothing accounts for its raw record',
  duplicate: 'an output is there twice, or comes after those of later raw records',
  wrong_route: 'an event is in the topic of another priority',
  different: 'the build that made it makes something else of its raw record',
  unexpected: 'the build that made it makes nothing of its raw record',
  no_record: 'there is no raw record at the place that an output names',
  letter_differs: 'a dead letter is not its raw record byte for byte',
  unreadable: 'a record in an output topic is nothing that the topology writes',
  unsettled: 'no document has followed a notification',
  overdue: 'raw records wait to be processed',
} as const;

export type ExceptionKind = keyof typeof exceptionKinds;

/** Something that is wrong. It holds no user's values. */
export interface AuditException {
  readonly kind: ExceptionKind;
  readonly vendor: VendorName;
  /** The raw record, `topic:partition:offset`; undefined for an output that names none. */
  readonly raw?: string;
  /** The output, likewise; undefined for one that is missing. */
  readonly output?: string;
  readonly what: string;
}

/** How an audit, and people, name a record. */
export function placeOf({
  topic,
  partition,
  offset,
}: {
  topic: string;
  partition: number;
  offset: bigint;
}): string {
  return `${topic}:${partition}:${offset}`;
}

export type Counts = Map<string, number>;

export function count(counts: Counts, name: string, by = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

/** What became of one vendor's raw records. */
export interface VendorFigures {
  /** Records that were judged: the sum of all ends. */
  records: number;
  /** Records that were processed without being judged, because the state of others comes from them. */
  outside: number;
  readonly ends: Readonly<Record<End, Counts>>;
  /** Outputs by the priority of their topic, corrections by generation. */
  readonly outputs: Counts;
  /** Records whose output is there but was not compared in full, by reason. */
  readonly uncompared: Counts;
  /** `settled`, `waiting`, `unsettled`; and `documents`, of the collector. */
  readonly notifications: Counts;
  /** All exceptions by kind. A record can have several, and an output without a raw record has one as well. */
  readonly exceptions: Counts;
  /** When the oldest waiting record was received, epoch ms. */
  oldestPending: number | undefined;
}

export function noFigures(): VendorFigures {
  const endCounts = Object.fromEntries(ends.map((end) => [end, new Map<string, number>()]));
  return {
    records: 0,
    outside: 0,
    ends: endCounts as Record<End, Counts>,
    outputs: new Map(),
    uncompared: new Map(),
    notifications: new Map(),
    exceptions: new Map(),
    oldestPending: undefined,
  };
}

/** Adds figures to others. */
export function addFigures(to: VendorFigures, from: VendorFigures): void {
  to.records += from.records;
  to.outside += from.outside;
  for (const end of ends) addCounts(to.ends[end], from.ends[end]);
  addCounts(to.outputs, from.outputs);
  addCounts(to.uncompared, from.uncompared);
  addCounts(to.notifications, from.notifications);
  addCounts(to.exceptions, from.exceptions);
  to.oldestPending = earlier(to.oldestPending, from.oldestPending);
}

export function earlier(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return Math.min(one, other);
}

function addCounts(to: Counts, from: Counts): void {
  for (const [name, by] of from) count(to, name, by);
}

export function sumOf(counts: Counts): number {
  let sum = 0;
  for (const one of counts.values()) sum += one;
  return sum;
}

export type AuditFigures = Readonly<Record<VendorName, VendorFigures>>;

export function noAuditFigures(): AuditFigures {
  return byVendor(noFigures);
}

/** What became of a raw record, as far as one build is concerned. */
export interface Verdict {
  readonly end: End;
  readonly reason: string;
  /** Why its output was not compared in full; undefined when it was, or there is none. */
  readonly uncompared?: string | undefined;
  readonly exceptions: readonly AuditException[];
}

/** Verdicts that are not final yet, and what they add up to. */
export class Tally {
  readonly figures: VendorFigures = noFigures();
  exceptions: AuditException[] = [];

  take({ end, reason, uncompared, exceptions }: Verdict): void {
    this.figures.records += 1;
    count(this.figures.ends[end], reason);
    if (uncompared !== undefined) count(this.figures.uncompared, uncompared);
    for (const exception of exceptions) this.except(exception);
  }

  except(exception: AuditException): void {
    count(this.figures.exceptions, exception.kind);
    this.exceptions.push(exception);
  }

  add({ figures, exceptions }: Tally): void {
    addFigures(this.figures, figures);
    for (const exception of exceptions) this.exceptions.push(exception);
  }
}
