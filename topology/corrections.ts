import type { LogRecord } from '../kafka/record-batch.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { headerText, type RecordHeaders } from '../schemas/raw-record.ts';
import {
  errorHeader,
  type OutputRecord,
  type PunctuatedTask,
  type PunctuatorContext,
} from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import type { LiveRecord } from './control.ts';
import {
  noCorrections,
  readState,
  storeOf,
  writeState,
  type CorrectionState,
  type GenerationSupport,
} from './generation-state.ts';
import { eventHeaders } from './headers.ts';
import { rangeOf, recordsOf } from './history.ts';
import { corrected, keepTold, removed, type Alerts } from './promotion.ts';
import type { Revisions } from './revisions.ts';
import { eventIn, Unshadowed, type Note, type Removal } from './unshadowed.ts';

const correctionsPerTransaction = 200;
/** Corrections that are read ahead. */
const maxBuffered = 1_000;

type Source = Pick<LogRecord, 'key' | 'headers' | 'timestamp'>;
type Counts = { -readonly [K in keyof CorrectionState]: CorrectionState[K] };

/** Publishes what differs from what readers have, a bounded number in each transaction, in the order of the shadow. */
export class Corrections {
  readonly #context: PunctuatorContext;
  readonly #support: GenerationSupport;
  /** Events that were read but are not committed; the first `#taken` are in the open transaction. */
  readonly #buffer: Correction[] = [];
  #taken = 0;
  /** Removals and notes to settle, once the shadow is read: the first `#done` are committed, up to `#doing` in the transaction. */
  #rest: readonly (Removal | Note)[] | undefined;
  #done = 0;
  #doing = 0;
  #isEnding = false;
  #isClosed = false;
  #room: (() => void) | undefined;

  constructor(context: PunctuatorContext, support: GenerationSupport) {
    this.#context = context;
    this.#support = support;
  }

  close(): void {
    this.#isClosed = true;
    this.#room?.();
  }

  get isDue(): boolean {
    return !this.#isEnding && (this.#buffer.length > this.#taken || this.#rest !== undefined);
  }

  punctuate(task: PunctuatedTask): void {
    const { promotion } = this.#support.generation;
    if (promotion === undefined) return;
    const counts = { ...(readState(task.stores, 'corrections') ?? noCorrections) };
    const until = Math.min(this.#buffer.length, this.#taken + correctionsPerTransaction);
    for (; this.#taken < until; this.#taken += 1) {
      const correction = this.#buffer[this.#taken];
      if (correction !== undefined) this.#correct(task, correction, promotion, counts);
    }
    if (this.#rest !== undefined && this.#taken === this.#buffer.length) {
      const last = Math.min(this.#rest.length, this.#done + correctionsPerTransaction);
      for (this.#doing = this.#done; this.#doing < last; this.#doing += 1) {
        const one = this.#rest[this.#doing];
        if (one !== undefined && 'key' in one) settle(task, one, counts);
        else if (one !== undefined) this.#remove(task, [one], undefined, counts);
      }
      if (last === this.#rest.length) {
        counts.done = true;
        this.#isEnding = true;
      }
    }
    writeState(task.stores, 'corrections', counts);
  }

  #correct(
    task: PunctuatedTask,
    { record, position, event, unreadable, isNewer, isLeft }: Correction,
    promotion: LiveRecord,
    counts: Counts,
  ): void {
    counts.position = position ?? counts.position;
    if (event !== undefined) {
      const stores = storesOf(task, record.timestamp);
      if (isLeft === true && !promotion.removeUnreadable) return;
      const rules = { atMs: promotion.at, announces: promotion.announce };
      const made = corrected(event, stores, rules);
      if (made === undefined) return;
      counts[made.correction] += 1;
      task.forward(this.#output(made.event, made.correction, record));
      return;
    }
    const removed = promotion.removeUnreadable ? this.#remove(task, unreadable, record, counts) : 0;
    counts.unreadable += unreadable.length - removed;
    if (removed === 0 && !(promotion.removeUnreadable && isNewer === true)) return;
    const { deadLetters: topic } = this.#support.topics;
    const { partition } = this.#context;
    const why = { correction: 'removed', generation: String(this.#support.generation.number) };
    const { key, value, headers, timestamp } = record;
    task.forward({ topic, partition, key, value, headers: { ...headers, ...why }, timestamp });
  }

  /**
   * Removes the versions whose events were found.
   * @param letter - the dead letter of their record; undefined where that left none.
   * @returns how many were removed.
   */
  #remove(
    task: PunctuatedTask,
    removals: readonly Removal[],
    letter: Source | undefined,
    counts: Counts,
  ): number {
    const { decoder, generation } = this.#support;
    let count = 0;
    for (const { event } of removals) {
      if (event === undefined) continue;
      // Its schema has been known since it was found.
      const published = decoder.decode(event);
      const source = letter ?? sourceOf(published);
      const deletion = removed(published, storesOf(task, source.timestamp).revisions, generation.number);
      if (deletion === undefined) continue;
      task.forward(this.#output(deletion, 'removed', source));
      count += 1;
    }
    counts.removed += count;
    return count;
  }

  /** @returns whether all is done and committed. */
  settled(isCommitted: boolean): boolean {
    if (!isCommitted) {
      this.#taken = 0;
      this.#doing = this.#done;
      this.#isEnding = false;
      return false;
    }
    this.#buffer.splice(0, this.#taken);
    this.#taken = 0;
    this.#done = this.#doing;
    this.#room?.();
    if (!this.#isEnding) return false;
    const { partition, stores } = this.#context;
    const { changed, added, removed, unreadable } = readState(stores, 'corrections') ?? noCorrections;
    this.#support.log.info(
      { task: `0_${partition}`, changed, added, removed, unreadable },
      'corrected what readers have',
    );
    return true;
  }

  #output(event: BiometricEvent, correction: string, { key, headers, timestamp }: Source): OutputRecord {
    const { topics, biometricEvent, build } = this.#support;
    return {
      topic: topics.priority[event.priority],
      partition: this.#context.partition,
      key,
      value: biometricEvent.serialize(event),
      timestamp,
      headers: { ...eventHeaders(build)(event, { headers }), correction },
    };
  }

  /** Reads what there is to correct, as fast as it is corrected. */
  async read(): Promise<void> {
    const { partition, stores } = this.#context;
    const { generation } = this.#support;
    const unshadowed = new Unshadowed(stores, readState(stores, 'seed'));
    await unshadowed.find(this.#support, partition, () => !this.#isClosed);
    const range = await rangeOf(this.#support, generation.shadow, partition);
    if (unshadowed.isAnyOlder)
      for await (const { headers } of recordsOf(this.#support, range)) {
        if (this.#isClosed) return;
        this.#deadLettered(headers, unshadowed);
      }
    for (const encoded of unshadowed.restorations()) {
      const event = this.#support.decoder.decode(encoded);
      const record = { ...sourceOf(event), value: null };
      const isLeft = unshadowed.isLeft(event);
      await this.#push({
        record,
        event: { ...event, generation: generation.number },
        unreadable: [],
        isLeft,
      });
    }
    const position = readState(stores, 'corrections')?.position ?? '0';
    // From the beginning, because dead letters say which versions can no longer be read.
    for await (const record of recordsOf(this.#support, range)) {
      const correction = await this.#correction(record, unshadowed);
      if (record.offset >= BigInt(position)) await this.#push(correction);
      if (this.#isClosed) return;
    }
    this.#rest = [...unshadowed.removals(), ...unshadowed.notes()];
    this.#context.wake();
  }

  /** Waits for room. */
  async #push(correction: Correction): Promise<void> {
    while (this.#buffer.length >= maxBuffered && !this.#isClosed)
      await new Promise<void>((resolve) => (this.#room = resolve));
    this.#room = undefined;
    this.#buffer.push(correction);
    this.#context.wake();
  }

  async #correction(record: LogRecord, unshadowed: Unshadowed): Promise<Correction> {
    const { headers, value } = record;
    const position = String(record.offset + 1n);
    const letter = this.#deadLettered(headers, unshadowed);
    if (letter !== undefined || value === null)
      return { record, position, event: undefined, unreadable: [], ...letter };
    const event = await eventIn(value, this.#support.decoder);
    const isLeft = event !== undefined && unshadowed.isLeft(event);
    return { record, position, event, unreadable: [], isLeft };
  }

  /** Takes a dead letter into account; undefined for an event. */
  #deadLettered(
    headers: RecordHeaders,
    unshadowed: Unshadowed,
  ): Pick<Correction, 'unreadable' | 'isNewer'> | undefined {
    const topic = headerText(headers, errorHeader.topic);
    if (topic === undefined) return undefined;
    const vendor = vendorNames.find((name) => this.#support.topics.raw[name] === topic) ?? '';
    return unshadowed.deadLettered(vendor, headerText(headers, errorHeader.offset) ?? '');
  }
}

/** What the output is made from when only the published event is at hand, not its raw record. */
function sourceOf({ user_id, received_at: timestamp }: BiometricEvent): Source {
  return { key: Buffer.from(user_id), headers: {}, timestamp };
}

/** Lets readers keep a version that can no longer be read, unless it was replaced meanwhile, and forgets the note. */
function settle(task: PunctuatedTask, { key, left }: Note, counts: Counts): void {
  if (left !== undefined && keepTold(storesOf(task, 0).revisions, left.owner, left.row))
    counts.unreadable += 1;
  storeOf(task.stores, 'generation').write(key, undefined, Date.now());
}

/** The stores that corrections change, at the time of the record that they are made from. */
function storesOf(
  { stores }: PunctuatedTask,
  timestamp: number,
): { readonly revisions: Revisions; readonly alerts: Alerts } {
  for (const name of ['revisions', 'alerts']) storeOf(stores, name).onRecord(timestamp);
  return {
    revisions: storeOf(stores, 'revisions') as Revisions,
    alerts: storeOf(stores, 'alerts') as Alerts,
  };
}

/** What may need a correction. */
interface Correction {
  /** Of the shadow topic. */
  readonly record: Pick<LogRecord, 'key' | 'value' | 'headers' | 'timestamp'>;
  /** The next offset of the shadow topic; undefined for what does not come from there. */
  readonly position?: string | undefined;
  /**
   * Whether readers have an event of this dead letter's record, while our version of its resource is from an older
   * record.
   */
  readonly isNewer?: boolean;
  /**
   * Whether readers have a newer version that can no longer be read. It stays unless the promotion removes unreadable
   * versions.
   */
  readonly isLeft?: boolean;
  /** Undefined for a dead letter. */
  readonly event: BiometricEvent | undefined;
  /** The versions that readers have of a dead letter's record. */
  readonly unreadable: readonly Removal[];
}
