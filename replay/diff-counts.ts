/** What a comparison counts and reports: classes of differences, their counts, and each one as a line. */
import type { LogRecord } from '../kafka/record-batch.ts';
import { receivedAtOf } from '../schemas/raw-record.ts';
import type { RawPartition } from './deployment.ts';
import { fieldOf, type Difference, type OutcomeEvent } from './outcome.ts';

/** What counts as a difference. */
export const countedClasses = [
  'changed',
  're_routed',
  'added',
  'removed',
  'now_dead_lettered',
  'no_longer_dead_lettered',
] as const;

/** What is reported separately, and does not count as a difference. */
export const apartClasses = [
  /** Of a version that a newer one has replaced since, so that no promotion corrects it. */
  'superseded',
  /** Of a HealthKit day with records before the start, whose totals cannot be recomputed. */
  'incomplete_day',
  /** Added, or perhaps published once and deleted by retention since. */
  'not_comparable',
  /** Only a dead letter, new or gone, from before the last promotion, which leaves dead letters as they are. */
  'before_promotion',
  'baseline_only',
  'other_reason',
] as const;

export type DifferenceClass = (typeof countedClasses)[number] | (typeof apartClasses)[number];

/** A difference as it is reported: one line of `--out`. */
export interface DifferenceLine {
  readonly class: DifferenceClass;
  readonly device: string;
  /** `topic:partition:offset` of the raw record. */
  readonly raw: string;
  readonly received_at: string;
  /** The key of the raw record. */
  readonly user: string | null;
  readonly fields: readonly string[];
  readonly events: readonly {
    readonly resource_id: string;
    readonly kind: string;
    readonly published: { readonly at?: string; readonly event_id: string; readonly priority: string } | null;
    readonly recomputed: { readonly event_id: string; readonly priority: string } | null;
    /** With `values`: by field, before and after; or the event that is on one side only. */
    readonly values?: Readonly<Record<string, unknown>>;
  }[];
  /** The codes of dead letters. */
  readonly dead_letter?: { readonly published: string | null; readonly recomputed: string | null };
}

/** What was found in one partition, or in several. */
export interface DiffCounts {
  /** Raw records that were recomputed. */
  processed: number;
  compared: number;
  /** Compared records without any difference. */
  unchanged: number;
  readonly classes: Partial<Record<DifferenceClass, number>>;
  /** How often each field differs, in events that changed or are re-routed. */
  readonly fields: Record<string, number>;
  /** How often events are re-routed, by `NORMAL to HIGH`. */
  readonly routes: Record<string, number>;
  /** The first differences of each class. */
  readonly examples: Partial<Record<DifferenceClass, DifferenceLine[]>>;
  /** Entries of stores that the recomputation began with. */
  seeded: number;
  /** Rows of them that may have been made by a record after the start. */
  uncertain: number;
  /** Raw records later than this, epoch ms, have all of their outputs still; -Infinity when none was deleted. */
  completeFromMs: number;
  /** Outputs that come after outputs of later raw records. */
  outOfOrder: number;
  /** Records of output topics that the topology has not written. */
  unreadable: number;
}

/** Examples that are kept of each class. */
const examplesOfClass = 5;

export function noCounts(): DiffCounts {
  return {
    processed: 0,
    compared: 0,
    unchanged: 0,
    classes: {},
    fields: {},
    routes: {},
    examples: {},
    seeded: 0,
    uncertain: 0,
    completeFromMs: -Infinity,
    outOfOrder: 0,
    unreadable: 0,
  };
}

/** Counts a difference. */
export function count(counts: DiffCounts, line: DifferenceLine): void {
  const { classes, fields, routes, examples } = counts;
  const name = line.class;
  classes[name] = (classes[name] ?? 0) + 1;
  if (name === 'changed' || name === 're_routed')
    for (const field of line.fields) fields[field] = (fields[field] ?? 0) + 1;
  if (name === 're_routed')
    for (const { published, recomputed } of line.events) {
      const route = `${published?.priority ?? ''} to ${recomputed?.priority ?? ''}`;
      routes[route] = (routes[route] ?? 0) + 1;
    }
  const some = (examples[name] ??= []);
  if (some.length < examplesOfClass) some.push(line);
}

/** Adds what was found elsewhere. */
export function addCounts(sum: DiffCounts, more: DiffCounts): void {
  for (const name of [
    'processed',
    'compared',
    'unchanged',
    'seeded',
    'uncertain',
    'outOfOrder',
    'unreadable',
  ] as const)
    sum[name] += more[name];
  sum.completeFromMs = Math.max(sum.completeFromMs, more.completeFromMs);
  for (const name of ['classes', 'fields', 'routes'] as const) {
    const into: Record<string, number> = sum[name];
    for (const [key, count] of Object.entries(more[name])) into[key] = (into[key] ?? 0) + count;
  }
  for (const [name, lines] of Object.entries(more.examples) as [DifferenceClass, DifferenceLine[]][])
    sum.examples[name] = [...(sum.examples[name] ?? []), ...lines].slice(0, examplesOfClass);
}

/** Differences that count as such. */
export function counted({ classes }: DiffCounts): number {
  return countedClasses.reduce((sum, name) => sum + (classes[name] ?? 0), 0);
}

/** Reports a difference; without `values` it contains no measurement. */
export function lineOf(
  raw: RawPartition,
  record: LogRecord,
  { difference, name, values }: { difference: Difference; name: DifferenceClass; values: boolean },
): DifferenceLine {
  const { topic, partition, offset, key } = record;
  const { events, fields, letters } = difference;
  return {
    class: name,
    device: raw.vendor,
    raw: `${topic}:${partition}:${offset}`,
    received_at: instantText(receivedAtOf(record)),
    user: key?.toString() ?? null,
    fields,
    events: events.flatMap(({ published, recomputed }) => {
      const one = published ?? recomputed;
      if (one === undefined) return [];
      return {
        resource_id: one.event.resource_id,
        kind: one.event.kind,
        published:
          published === undefined
            ? null
            : { ...(published.at === undefined ? {} : { at: published.at }), ...idOf(published) },
        recomputed: recomputed === undefined ? null : idOf(recomputed),
        ...(values ? { values: valuesOf(fields, published, recomputed) } : {}),
      };
    }),
    ...(letters === undefined
      ? {}
      : {
          dead_letter: {
            published: letters.published?.code ?? null,
            recomputed: letters.recomputed?.code ?? null,
          },
        }),
  };
}

function idOf({ event }: OutcomeEvent): { event_id: string; priority: string } {
  return { event_id: event.event_id, priority: event.priority };
}

function valuesOf(
  fields: readonly string[],
  published: OutcomeEvent | undefined,
  recomputed: OutcomeEvent | undefined,
): Record<string, unknown> {
  if (published === undefined || recomputed === undefined) return { ...(published ?? recomputed)?.event };
  return Object.fromEntries(
    fields.map((field) => [
      field,
      { published: fieldOf(published.event, field), recomputed: fieldOf(recomputed.event, field) },
    ]),
  );
}

/** ISO 8601, UTC; epoch ms where no date has it. */
function instantText(epochMs: number): string {
  return Math.abs(epochMs) <= 8_640_000_000_000_000 ? new Date(epochMs).toISOString() : String(epochMs);
}
