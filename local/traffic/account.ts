import { createHash } from 'node:crypto';
import { compareVersions, type Version } from '../../schemas/version-order.ts';
import type { Delivery, ExpectedEvent } from './deliveries.ts';

/** What was read of a priority topic: the decoded fields that a delivery determines, and where it came from. */
export type ReadEvent = ExpectedEvent & { readonly raw: string; readonly version: Version };

/** A record of the raw topics: `topic-partition@offset` and its exact bytes' hash. */
export interface ReadRaw {
  readonly ref: string;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  readonly bodyHash: string;
}

/** The closing line of a run. Latencies are from the HTTP answer to the committed reader. */
export interface Summary {
  readonly sent: Readonly<Record<string, number>>;
  readonly accepted: number;
  readonly events: { readonly high: number; readonly medium: number; readonly normal: number };
  readonly dead_letters: number;
  readonly dropped: number;
  readonly postgres_rows: number;
  /** What the example reader has announced and withdrawn. */
  readonly alerts: number;
  readonly withdrawn: number;
  readonly duplicates: number;
  readonly missing: number;
  readonly p50_ms: number | null;
  readonly p99_ms: number | null;
}

interface Answer {
  readonly delivery: Delivery;
  readonly answeredAt: number;
}

interface Pair {
  readonly raw: ReadRaw;
  readonly answer: Answer;
}

interface Output {
  readonly at: number;
  readonly event: ReadEvent | undefined;
}

type Expected = 'event' | 'dead_letter' | 'dropped';

function byOffset(a: ReadRaw, b: ReadRaw): number {
  return a.offset < b.offset ? -1 : 1;
}

/** Names a body without holding it. */
export function hashOf(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}

/**
 * The books of a run: what the sender was promised on one side, what a reader of the topics saw on the other.
 * Both sides are matched by raw record; nothing is taken from the processes' own counters.
 */
export class Account {
  readonly #sent = new Map<string, number>();
  readonly #byBody = new Map<string, Answer[]>();
  readonly #raw: ReadRaw[] = [];
  readonly #outputs = new Map<string, Output[]>();
  readonly #faults: string[] = [];

  /** A request was answered, or failed without an answer (status undefined). */
  answered(delivery: Delivery, status: number | undefined, answeredAt: number): void {
    this.#sent.set(delivery.kind, (this.#sent.get(delivery.kind) ?? 0) + 1);
    if (status !== delivery.expect.status) {
      this.#faults.push(
        `a ${delivery.kind} was answered ${status ?? 'not at all'} instead of ${delivery.expect.status}`,
      );
      return;
    }
    if (delivery.expect.outcome === 'refused') return;
    const hash = hashOf(delivery.body);
    this.#byBody.set(hash, [...(this.#byBody.get(hash) ?? []), { delivery, answeredAt }]);
  }

  rawRead(raw: ReadRaw): void {
    this.#raw.push(raw);
  }

  /** An event or, without one, a dead letter was read that names raw record `ref`. */
  outputRead(ref: string, at: number, event: ReadEvent | undefined): void {
    this.#outputs.set(ref, [...(this.#outputs.get(ref) ?? []), { at, event }]);
  }

  /**
   * Matches both sides.
   * @param committed - the topology's committed offset of a raw partition: what shows that a drop was decided.
   */
  balance(committed: (topic: string, partition: number) => bigint): Balance {
    const faults = [...this.#faults];
    const events = { HIGH: 0, MEDIUM: 0, NORMAL: 0 };
    const latencies: number[] = [];
    const newest = new Map<string, { event: ExpectedEvent; raw: ReadRaw }>();
    let deadLetters = 0;
    let dropped = 0;
    let duplicates = 0;
    const { accepted, pairs, lost } = this.#pairs();
    let missing = lost;
    const count = (raw: ReadRaw, kind: string, expected: Expected): Output | undefined => {
      const outputs = this.#outputs.get(raw.ref) ?? [];
      // A recomputation's event of the same record is another version.
      const generations = new Set(outputs.map(({ event }) => event?.version.generation ?? 0));
      if (generations.size < outputs.length) duplicates += 1;
      const output = newestOf(outputs);
      if (expected === 'dropped') {
        if (output !== undefined) faults.push(`a ${kind} was not dropped (${raw.ref})`);
        else if (committed(raw.topic, raw.partition) > raw.offset) dropped += 1;
        else missing += 1;
        return undefined;
      }
      if (output === undefined) missing += 1;
      else if (expected === 'dead_letter' && output.event !== undefined)
        faults.push(`a ${kind} became an event (${raw.ref})`);
      else if (expected === 'dead_letter') deadLetters += 1;
      return output;
    };
    const versions = new Map<string, Pair[]>();
    for (const pair of pairs) {
      const { expect, kind } = pair.answer.delivery;
      if (expect.outcome === 'event') {
        const key = resourceOf(expect.event);
        versions.set(key, [...(versions.get(key) ?? []), pair]);
      } else if (expect.outcome !== 'refused') count(pair.raw, kind, expect.outcome);
    }
    // A version that says what the last one of its resource said is a retry, and a retry must change nothing. Only the
    // log shows which was the last one.
    for (const ofResource of versions.values()) {
      let last: ExpectedEvent | undefined;
      let version: Version | undefined;
      for (const { raw, answer } of ofResource.sort((a, b) => byOffset(a.raw, b.raw))) {
        const { expect, kind } = answer.delivery;
        if (expect.outcome !== 'event') continue;
        const isRetry = last !== undefined && sameEvent(last, expect.event);
        const output = count(raw, kind, isRetry ? 'dropped' : 'event');
        if (isRetry) continue;
        last = expect.event;
        newest.set(resourceOf(last), { event: last, raw });
        if (output === undefined) continue;
        if (output.event === undefined || !sameEvent(output.event, last)) {
          const what = output.event === undefined ? 'a dead letter' : 'another event';
          faults.push(`a ${kind} became ${what} (${raw.ref})`);
        } else {
          if (version !== undefined && compareVersions(output.event.version, version) <= 0)
            faults.push(`a ${kind} became a version that is not newer than the one before it (${raw.ref})`);
          version = output.event.version;
          events[output.event.priority] += 1;
          latencies.push(Math.max(0, output.at - answer.answeredAt));
        }
      }
    }
    latencies.sort((a, b) => a - b);
    return {
      faults,
      newest: [...newest.values()],
      summary: {
        sent: Object.fromEntries([...this.#sent].sort(([a], [b]) => (a < b ? -1 : 1))),
        accepted,
        events: { high: events.HIGH, medium: events.MEDIUM, normal: events.NORMAL },
        dead_letters: deadLetters,
        dropped,
        postgres_rows: 0,
        alerts: 0,
        withdrawn: 0,
        duplicates,
        missing,
        p50_ms: percentile(latencies, 0.5),
        p99_ms: percentile(latencies, 0.99),
      },
    };
  }

  /** Each raw record that an accepted body led to, with its answer; and how many accepted ones led to none. */
  #pairs(): { accepted: number; lost: number; pairs: Pair[] } {
    const rawByBody = new Map<string, ReadRaw[]>();
    for (const raw of this.#raw) rawByBody.set(raw.bodyHash, [...(rawByBody.get(raw.bodyHash) ?? []), raw]);
    const pairs: Pair[] = [];
    let accepted = 0;
    let lost = 0;
    for (const [hash, answers] of this.#byBody) {
      accepted += answers.length;
      const raws = (rawByBody.get(hash) ?? []).sort(byOffset);
      lost += Math.max(0, answers.length - raws.length);
      for (const [at, raw] of raws.entries()) {
        const answer = answers[Math.min(at, answers.length - 1)];
        if (answer !== undefined) pairs.push({ raw, answer });
      }
    }
    return { accepted, lost, pairs };
  }
}

/** The books at one moment. */
export interface Balance {
  readonly summary: Summary;
  /** What was not as it had to be, in words; empty when all is well. */
  readonly faults: readonly string[];
  /** The version of each resource that a sink has to hold, with the raw record it came by. */
  readonly newest: readonly { readonly event: ExpectedEvent; readonly raw: ReadRaw }[];
}

/** The output that holds: the event of the highest version, or a dead letter. */
function newestOf(outputs: readonly Output[]): Output | undefined {
  let newest = outputs[0];
  for (const output of outputs)
    if (newest?.event !== undefined && output.event !== undefined)
      if (compareVersions(output.event.version, newest.event.version) > 0) newest = output;
  return newest;
}

/** Whether two events say the same in every field that a delivery determines. */
export function sameEvent(read: ExpectedEvent, expected: ExpectedEvent): boolean {
  return (Object.keys(expected) as (keyof ExpectedEvent)[]).every(
    (field) => canonical(read[field]) === canonical(expected[field]),
  );
}

/** Names the resource that an event is a version of. */
export function resourceOf({ device_type, user_id, resource_id }: ExpectedEvent): string {
  return JSON.stringify([device_type, user_id, resource_id]);
}

function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return JSON.stringify(value);
  return JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function percentile(sorted: readonly number[], share: number): number | null {
  const value = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return value === undefined ? null : Math.round(value * 10) / 10;
}
