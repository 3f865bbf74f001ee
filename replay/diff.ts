/** What this build would make of the raw records of one partition, compared with what was published of them. */
import type { LogRecord } from '../kafka/record-batch.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import { DecodeError, UnknownSchemaId } from '../schemas/codec.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { headerText, receivedAtOf, type RecordHeaders } from '../schemas/raw-record.ts';
import { errorHeader, type OutputRecord } from '../streams/index.ts';
import { isIncompleteDay, type Start } from '../topology/start.ts';
import { dayMs, parseInstant } from '../vendors/instant.ts';
import type { Deployment, RawPartition } from './deployment.ts';
import {
  count,
  lineOf,
  noCounts,
  type DiffCounts,
  type DifferenceClass,
  type DifferenceLine,
} from './diff-counts.ts';
import { LiveVersions, seed } from './live-state.ts';
import { differencesOf, resourceOf, type Difference, type Outcome, type OutcomeEvent } from './outcome.ts';
import { PublishedOutputs, type Published } from './published.ts';

/** Which records are compared, and what is reported of them. Instants are epoch ms. */
export interface DiffOptions {
  /** Records received from then on. */
  readonly fromMs?: number | undefined;
  /** Records received before. */
  readonly toMs?: number | undefined;
  /** Only this user's records, which no other user's change. */
  readonly user?: string | undefined;
  /** Reports values of measurements, too. */
  readonly values: boolean;
}

/** A raw partition, and the part of it that is recomputed: from the start, before `end`. */
export interface DiffPart {
  readonly raw: RawPartition;
  readonly start: Start;
  readonly end: bigint;
}

/** Called with progress and with each difference. */
export interface DiffHooks {
  onProgress(records: number): void;
  onDifference(line: DifferenceLine): void;
}

/**
 * Recomputes a part of a raw partition, and compares it. Reads only; memory is bounded by the state of the partition.
 * @throws LogMovedError when retention overtakes it; StreamsError INVARIANT for state of a layout that this build cannot read.
 */
export async function diffPart(
  deployment: Deployment,
  part: DiffPart,
  options: DiffOptions,
  hooks: DiffHooks,
): Promise<DiffCounts> {
  const { raw, start, end } = part;
  const { user } = options;
  const counts = noCounts();
  const recomputation = deployment.recomputation(raw.partition);
  const { entries, uncertain } = await seed(deployment, raw, { start, recomputation, user });
  counts.seeded = entries;
  counts.uncertain = uncertain;
  const published = await PublishedOutputs.open(deployment, raw, {
    onAside: ({ why }) => {
      if (why === 'out_of_order') counts.outOfOrder += 1;
      if (why === 'unreadable') counts.unreadable += 1;
    },
  });
  counts.completeFromMs = published.completeFromMs;
  const comparison = new Comparison(deployment, part, { options, published, counts, hooks });
  const key = user === undefined ? undefined : Buffer.from(user);
  const { topic, partition } = raw;
  const scan = deployment.scanner.scan({ topic, partition, offset: start.offset, end });
  try {
    for (let records = await scan.next(); records !== undefined; records = await scan.next()) {
      for (const record of records) {
        if (key !== undefined && record.key?.equals(key) !== true) continue;
        const { outputs } = recomputation.process(record);
        counts.processed += 1;
        if (!isWanted(record, options)) continue;
        counts.compared += 1;
        const before = await published.of(record.offset);
        if (!isSame(before, outputs, deployment.topics.deadLetters))
          await comparison.compare(record, before, outputs);
        else counts.unchanged += 1;
      }
      hooks.onProgress(records.length);
    }
    await published.finish(end);
  } finally {
    scan.close();
    published.close();
  }
  return counts;
}

function isWanted(record: LogRecord, { fromMs, toMs }: DiffOptions): boolean {
  if (fromMs === undefined && toMs === undefined) return true;
  const receivedAt = receivedAtOf(record);
  return receivedAt >= (fromMs ?? -Infinity) && receivedAt < (toMs ?? Infinity);
}

/** Whether the same bytes were published in the same topics, as for nearly all records. Then nothing needs decoding. */
function isSame(
  published: readonly Published[],
  recomputed: readonly OutputRecord[],
  deadLetters: string,
): boolean {
  if (published.length !== recomputed.length) return false;
  const [only] = published;
  const [other] = recomputed;
  if (only === undefined || other === undefined) return true;
  if (published.length === 1) return isSameOutput(only, other, deadLetters);
  // Within a topic, outputs of one record are in the order in which they were made.
  const left = new Map<string, Published[]>();
  for (const one of published) left.set(one.topic, [...(left.get(one.topic) ?? []), one]);
  return recomputed.every((output) => {
    const one = left.get(output.topic)?.shift();
    return one !== undefined && isSameOutput(one, output, deadLetters);
  });
}

function isSameOutput(
  { topic, record, correction }: Published,
  output: OutputRecord,
  deadLetters: string,
): boolean {
  const { value } = record;
  if (topic !== output.topic || correction !== undefined) return false;
  const isSameValue = value === null ? output.value === null : output.value?.equals(value) === true;
  return isSameValue && (topic !== deadLetters || codeOf(record.headers) === codeOf(output.headers));
}

/** The code of a dead letter; undefined for an event. */
function codeOf(headers: RecordHeaders): string | undefined {
  return headerText(headers, errorHeader.exception);
}

interface Parts {
  readonly options: DiffOptions;
  readonly published: PublishedOutputs;
  readonly counts: DiffCounts;
  readonly hooks: DiffHooks;
}

/** Compares records whose published bytes differ, event by event. */
class Comparison {
  readonly #deployment: Deployment;
  readonly #part: DiffPart;
  readonly #parts: Parts;
  #live: Promise<LiveVersions> | undefined;

  constructor(deployment: Deployment, part: DiffPart, parts: Parts) {
    this.#deployment = deployment;
    this.#part = part;
    this.#parts = parts;
  }

  async compare(
    record: LogRecord,
    published: readonly Published[],
    recomputed: readonly OutputRecord[],
  ): Promise<void> {
    const before = await this.#publishedOutcome(published);
    const after = await this.#recomputedOutcome(recomputed);
    const differences = differencesOf(before, after);
    if (differences.length === 0) this.#parts.counts.unchanged += 1;
    for (const difference of differences)
      this.#note(record, difference, await this.#classOf(record, difference));
  }

  async #recomputedOutcome(outputs: readonly OutputRecord[]): Promise<Outcome> {
    const events: OutcomeEvent[] = [];
    let letter: Outcome['letter'];
    for (const { topic, value, headers } of outputs)
      if (topic === this.#deployment.topics.deadLetters) letter = { code: codeOf(headers) ?? '' };
      else if (value !== null) events.push({ event: await this.#decode(value) });
    return { events, letter };
  }

  /** For each resource, the events of the newest generation that has published any. */
  async #publishedOutcome(published: readonly Published[]): Promise<Outcome> {
    const newest = new Map<string, number>();
    const decoded: (OutcomeEvent & { generation: number; isRemoved: boolean })[] = [];
    const letters: { code: string; at: string; generation: number }[] = [];
    for (const { topic, partition, offset, record, generation, correction } of published) {
      const at = `${topic}:${partition}:${offset}`;
      if (topic === this.#deployment.topics.deadLetters) {
        letters.push({ code: codeOf(record.headers) ?? '', at, generation });
        continue;
      }
      const event = record.value === null ? undefined : await this.#readable(record.value);
      if (event === undefined) this.#parts.counts.unreadable += 1;
      else {
        const one = { event, at };
        const key = resourceOf(one);
        newest.set(key, Math.max(generation, newest.get(key) ?? 0));
        decoded.push({ ...one, generation, isRemoved: correction === 'removed' });
      }
    }
    const letter = letters.reduce<(typeof letters)[number] | undefined>(
      (last, one) => (last === undefined || one.generation >= last.generation ? one : last),
      undefined,
    );
    const isCorrected = decoded.some(({ generation }) => generation > (letter?.generation ?? 0));
    return {
      events: decoded.filter((one) => !one.isRemoved && one.generation === newest.get(resourceOf(one))),
      letter: letter && { code: letter.code, at: letter.at, isCorrected },
    };
  }

  async #readable(value: Buffer): Promise<BiometricEvent | undefined> {
    try {
      return await this.#decode(value);
    } catch (error) {
      if (error instanceof DecodeError) return undefined;
      throw error;
    }
  }

  async #decode(value: Buffer): Promise<BiometricEvent> {
    const { decoder } = this.#deployment;
    try {
      return decoder.decode(value);
    } catch (error) {
      if (!(error instanceof UnknownSchemaId)) throw error;
      await decoder.prepare(error.id);
      return decoder.decode(value);
    }
  }

  async #classOf(record: LogRecord, { kind, events }: Difference): Promise<DifferenceClass> {
    if (kind === 'baseline_only' || kind === 'other_reason') return kind;
    const every = events.map(({ published, recomputed }) => (published ?? recomputed)?.event).filter(isKnown);
    const { start } = this.#part;
    if (every.length > 0 && every.every((event) => isOfIncompleteDay(event, start))) return 'incomplete_day';
    if (kind === 'added' && this.#parts.published.mayBeDeleted(record.timestamp)) return 'not_comparable';
    if (every.length === 0) return this.#isBeforeCut(record) ? 'before_promotion' : kind;
    const live = await (this.#live ??= LiveVersions.read(
      this.#deployment,
      this.#part.raw,
      this.#parts.options.user,
    ));
    return every.every((event) => (live.offsetOf(event) ?? -1n) > record.offset) ? 'superseded' : kind;
  }

  #isBeforeCut({ topic, partition, offset }: LogRecord): boolean {
    return offset < (this.#deployment.cut.get(partitionName({ topic, partition })) ?? 0n);
  }

  #note(record: LogRecord, difference: Difference, name: DifferenceClass): void {
    const { counts, hooks, options } = this.#parts;
    const line = lineOf(this.#part.raw, record, { difference, name, values: options.values });
    count(counts, line);
    hooks.onDifference(line);
  }
}

function isKnown<T>(value: T | undefined): value is T {
  return value !== undefined;
}

function isOfIncompleteDay({ device_type, kind, local_date }: BiometricEvent, start: Start): boolean {
  if (device_type !== 'healthkit' || kind !== 'daily') return false;
  const day = parseInstant(local_date);
  return day !== null && isIncompleteDay(Math.floor(day.epochMs / dayMs), start);
}
