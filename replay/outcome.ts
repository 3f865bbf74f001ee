/** What became of one raw record, as published and as recomputed, and how the two differ. */
import type { BiometricEvent } from '../schemas/biometric-event.ts';

/** An event, and its place if it was published. */
export interface OutcomeEvent {
  readonly event: BiometricEvent;
  /** `topic:partition:offset`; undefined for one that was recomputed. */
  readonly at?: string;
}

/** The dead letter of a record. */
export interface Letter {
  readonly code: string;
  readonly at?: string;
  /** A later generation has published events of the record since, so the dead letter need not appear again. */
  readonly isCorrected?: boolean;
}

/** Events in the order in which they were made. */
export interface Outcome {
  readonly events: readonly OutcomeEvent[];
  readonly letter?: Letter | undefined;
}

/** The ways in which two outcomes can differ. */
export type DifferenceKind =
  /** The event of a resource has other content. */
  | 'changed'
  /** The event goes to another priority topic; its content may differ, too. */
  | 're_routed'
  /** An event, or a dead letter, where there was nothing. */
  | 'added'
  /** No event where there was one. */
  | 'removed'
  /** A record that led to events leads to a dead letter, perhaps next to them. */
  | 'now_dead_lettered'
  /** A record that led to a dead letter leads to none. */
  | 'no_longer_dead_lettered'
  /** The event differs only in its baseline, which depends on what came before it. */
  | 'baseline_only'
  /** The dead letter has another reason. */
  | 'other_reason';

/** One event, or dead letter, that differs. */
export interface Difference {
  readonly kind: DifferenceKind;
  /** The events that the difference is about, before and after; for dead letters, the events lost or gained with them. */
  readonly events: readonly {
    readonly published?: OutcomeEvent | undefined;
    readonly recomputed?: OutcomeEvent | undefined;
  }[];
  /** The fields that differ; empty unless there is an event on both sides. */
  readonly fields: readonly string[];
  readonly letters?: { readonly published?: Letter | undefined; readonly recomputed?: Letter | undefined };
}

type Pair = Difference['events'][number];

/** How two outcomes differ, event by event; empty when they are the same. */
export function differencesOf(published: Outcome, recomputed: Outcome): Difference[] {
  const differences: Difference[] = [];
  const gone: Pair[] = [];
  const come: Pair[] = [];
  for (const pair of pairs(published.events, recomputed.events)) {
    if (pair.recomputed === undefined) gone.push(pair);
    else if (pair.published === undefined) come.push(pair);
    else {
      const difference = differenceOf(pair, pair.published.event, pair.recomputed.event);
      if (difference !== undefined) differences.push(difference);
    }
  }
  const letters = { published: published.letter, recomputed: recomputed.letter };
  const isLetterNew = letters.recomputed !== undefined && letters.published === undefined;
  const isLetterGone =
    letters.published !== undefined &&
    letters.recomputed === undefined &&
    letters.published.isCorrected !== true;
  if (isLetterNew && published.events.length > 0)
    differences.push({ kind: 'now_dead_lettered', events: gone, fields: [], letters });
  else differences.push(...gone.map((pair) => ({ kind: 'removed', events: [pair], fields: [] }) as const));
  if (isLetterGone) differences.push({ kind: 'no_longer_dead_lettered', events: come, fields: [], letters });
  else differences.push(...come.map((pair) => ({ kind: 'added', events: [pair], fields: [] }) as const));
  if (isLetterNew && published.events.length === 0)
    differences.push({ kind: 'added', events: [], fields: [], letters });
  if (letters.published?.code !== letters.recomputed?.code && !isLetterNew && letters.recomputed)
    differences.push({ kind: 'other_reason', events: [], fields: [], letters });
  return differences;
}

/** The events of one resource in pairs, the first of one side with the first of the other. */
function* pairs(published: readonly OutcomeEvent[], recomputed: readonly OutcomeEvent[]): Generator<Pair> {
  const left = new Map<string, OutcomeEvent[]>();
  for (const one of recomputed) {
    const key = resourceOf(one);
    left.set(key, [...(left.get(key) ?? []), one]);
  }
  for (const one of published) yield { published: one, recomputed: left.get(resourceOf(one))?.shift() };
  for (const others of left.values()) for (const one of others) yield { recomputed: one };
}

/** An event's resource, which is a name only within its user. */
export function resourceOf({ event }: OutcomeEvent): string {
  return `${event.user_id}\0${event.resource_id}`;
}

function differenceOf(pair: Pair, before: BiometricEvent, after: BiometricEvent): Difference | undefined {
  const fields = changedFields(before, after);
  if (fields.length > 0)
    return { kind: before.priority === after.priority ? 'changed' : 're_routed', events: [pair], fields };
  const { baseline: one } = before;
  const { baseline: other } = after;
  const isSame =
    one === null || other === null
      ? one === other
      : one.nights === other.nights &&
        isClose(one.hrv_mean, other.hrv_mean) &&
        isClose(one.hrv_sd, other.hrv_sd);
  return isSame ? undefined : { kind: 'baseline_only', events: [pair], fields: ['baseline'] };
}

const scalars = [
  'source',
  'kind',
  'timestamp',
  'local_date',
  'hrv',
  'hrv_sdnn',
  'sleep_score',
  'recovery_score',
  'stress_level',
  'resting_heart_rate',
  'deleted',
] as const;

/** Flags that depend on when a record arrived. */
const ageFlags: ReadonlySet<string> = new Set(['stale', 'future_timestamp']);

/**
 * The fields in which two events of a resource differ, among those that make their outcome: content, triggers except
 * `first`, and priority, but nothing that depends on what came before or on when it arrived. Numbers are compared as
 * topology/events.ts hashes them, to 1e-3.
 */
export function changedFields(before: BiometricEvent, after: BiometricEvent): string[] {
  const fields: string[] = scalars.filter((field) => !isEqual(before[field], after[field]));
  const metrics = new Set([...Object.keys(before.activity_data), ...Object.keys(after.activity_data)]);
  for (const metric of [...metrics].sort())
    if (!isEqual(before.activity_data[metric] ?? null, after.activity_data[metric] ?? null))
      fields.push(`activity_data.${metric}`);
  if (qualityOf(before) !== qualityOf(after)) fields.push('flags');
  if (triggersOf(before) !== triggersOf(after)) fields.push('triggers');
  if (before.priority !== after.priority) fields.push('priority');
  return fields;
}

/** The value of a field that changedFields() names. */
export function fieldOf(event: BiometricEvent, field: string): unknown {
  const metric = /^activity_data\.(.*)$/s.exec(field)?.[1];
  return metric === undefined
    ? (event as unknown as Readonly<Record<string, unknown>>)[field]
    : (event.activity_data[metric] ?? null);
}

function qualityOf({ flags }: BiometricEvent): string {
  return JSON.stringify(flags.filter((flag) => !ageFlags.has(flag)).sort());
}

function triggersOf({ triggers }: BiometricEvent): string {
  if (triggers.length === 0) return '';
  return JSON.stringify(
    triggers.map(({ type, severity, metric, value, threshold, recommendation, alert_id }) => [
      type,
      severity,
      metric,
      thousandths(value),
      thousandths(threshold),
      recommendation,
      alert_id,
    ]),
  );
}

function isEqual(one: unknown, other: unknown): boolean {
  return one === other || (typeof one === 'number' && typeof other === 'number' && isClose(one, other));
}

function isClose(one: number, other: number): boolean {
  return thousandths(one) === thousandths(other);
}

/** Without -0, which is 0 to readers. */
function thousandths(value: number): number {
  return Math.round(value * 1e3) / 1e3 + 0;
}
