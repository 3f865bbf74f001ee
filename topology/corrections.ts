import type { LogRecord } from '../kafka/record-batch.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { schemaIdOf } from '../schemas/codec.ts';
import { headerText } from '../schemas/raw-record.ts';
import {
  errorHeader,
  type OutputRecord,
  type PunctuatedTask,
  type PunctuatorContext,
} from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import { noCorrections, readState, storeOf, writeState, type GenerationSupport } from './generation-state.ts';
import { eventHeaders } from './headers.ts';
import { rangeOf, recordsOf } from './history.ts';
import { corrected, removed, unsupportedOf, type Alerts, type Unsupported } from './promotion.ts';
import type { Revisions } from './revisions.ts';

const correctionsPerTransaction = 200;
/** Corrections that are read ahead. */
const maxBuffered = 1_000;

/** Publishes what differs from what readers have: a bounded number in each transaction, in the order of the shadow. */
export class Corrections {
  readonly #context: PunctuatorContext;
  readonly #support: GenerationSupport;
  /** What was read and is not committed: the first `#taken` are in the open transaction. */
  readonly #buffer: ShadowRecord[] = [];
  #taken = 0;
  /** What is to be removed, once the shadow is read: the first `#removed` are committed, up to `#removing` in the transaction. */
  #removals: readonly Published[] | undefined;
  #removed = 0;
  #removing = 0;
  #isRead = false;
  #isEnding = false;
  #isClosed = false;
  #room: (() => void) | undefined;
  /** Versions that readers have and this generation does not, by their raw record. */
  readonly #unsupported = new Map<string, Published[]>();

  constructor(context: PunctuatorContext, support: GenerationSupport) {
    this.#context = context;
    this.#support = support;
  }

  /** Begins to read. */
  start(): void {
    this.#read().catch((error: unknown) => {
      if (!this.#isClosed) this.#context.fail(error instanceof Error ? error : new Error('unknown failure'));
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#room?.();
  }

  get isDue(): boolean {
    return !this.#isEnding && (this.#buffer.length > this.#taken || this.#isRead);
  }

  punctuate(task: PunctuatedTask): void {
    const { generation } = this.#support;
    const { promotion } = generation;
    if (promotion === undefined) return;
    const stores = {
      revisions: storeOf(task.stores, 'revisions') as Revisions,
      alerts: storeOf(task.stores, 'alerts') as Alerts,
    };
    const counts = { ...(readState(task.stores, 'corrections') ?? noCorrections) };
    const rules = { atMs: promotion.at, announces: promotion.announce };
    const forward = (
      event: BiometricEvent,
      correction: string,
      record: Pick<LogRecord, 'key' | 'headers' | 'timestamp'>,
    ): void => task.forward(this.#output(event, correction, record));
    const remove = ({ event }: Published): BiometricEvent[] => {
      const deletion = event && removed(event, stores.revisions, generation.number);
      return deletion === undefined ? [] : [deletion];
    };
    const until = Math.min(this.#buffer.length, this.#taken + correctionsPerTransaction);
    for (; this.#taken < until; this.#taken += 1) {
      const shadow = this.#buffer[this.#taken];
      if (shadow === undefined) break;
      const { record, event } = shadow;
      for (const name of ['revisions', 'alerts']) storeOf(task.stores, name).onRecord(record.timestamp);
      counts.position = String(record.offset + 1n);
      if (event === undefined) {
        const gone = shadow.unreadable;
        const deletions = promotion.removeUnreadable ? gone.flatMap((one) => remove(one)) : [];
        counts.unreadable += gone.length - deletions.length;
        counts.removed += deletions.length;
        if (deletions.length === 0) continue;
        for (const deletion of deletions) forward(deletion, 'removed', record);
        const { deadLetters: topic } = this.#support.topics;
        const { partition } = this.#context;
        const { key, value, headers, timestamp } = record;
        const why = { correction: 'removed', generation: String(generation.number) };
        task.forward({ topic, partition, key, value, headers: { ...headers, ...why }, timestamp });
        continue;
      }
      const made = corrected(event, stores, rules);
      if (made === undefined) continue;
      counts[made.correction] += 1;
      forward(made.event, made.correction, record);
    }
    if (this.#isRead && this.#taken === this.#buffer.length) {
      this.#removals ??= [...this.#unsupported.values()].flat().filter(({ isUnreadable }) => !isUnreadable);
      const last = Math.min(this.#removals.length, this.#removed + correctionsPerTransaction);
      for (this.#removing = this.#removed; this.#removing < last; this.#removing += 1) {
        const one = this.#removals[this.#removing];
        if (one?.event === undefined) continue;
        const { received_at: timestamp, user_id } = one.event;
        for (const store of ['revisions', 'alerts']) storeOf(task.stores, store).onRecord(timestamp);
        for (const deletion of remove(one)) {
          counts.removed += 1;
          forward(deletion, 'removed', { key: Buffer.from(user_id), headers: {}, timestamp });
        }
      }
      if (last === this.#removals.length) {
        counts.done = true;
        this.#isEnding = true;
      }
    }
    writeState(task.stores, 'corrections', counts);
  }

  /** @returns whether all is done and committed. */
  settled(isCommitted: boolean): boolean {
    if (!isCommitted) {
      this.#taken = 0;
      this.#removing = this.#removed;
      this.#isEnding = false;
      return false;
    }
    this.#buffer.splice(0, this.#taken);
    this.#taken = 0;
    this.#removed = this.#removing;
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

  #output(
    event: BiometricEvent,
    correction: string,
    { key, headers, timestamp }: Pick<LogRecord, 'key' | 'headers' | 'timestamp'>,
  ): OutputRecord {
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

  async #read(): Promise<void> {
    const { partition, stores } = this.#context;
    const { generation } = this.#support;
    const starts = readState(stores, 'seed')?.starts;
    const startOf = (vendor: string): bigint => BigInt(starts?.[vendor]?.offset ?? 0);
    for (const [key, value] of storeOf(stores, 'revisions').entries())
      for (const one of unsupportedOf({ key, value }, startOf))
        add(this.#unsupported, `${one.owner.vendor}@${one.offset}`, one);
    await this.#findPublished();
    const position = readState(stores, 'corrections')?.position ?? '0';
    // From the beginning, because dead letters say which versions cannot be read any more.
    const range = await rangeOf(this.#support, generation.shadow, partition);
    for await (const record of recordsOf(this.#support, range)) {
      const shadow = await this.#shadowRecord(record);
      if (record.offset < BigInt(position)) continue;
      while (this.#buffer.length >= maxBuffered && !this.#isClosed) await this.#roomIsThere();
      if (this.#isClosed) return;
      this.#buffer.push(shadow);
      this.#context.wake();
    }
    this.#isRead = true;
    this.#context.wake();
  }

  async #roomIsThere(): Promise<void> {
    await new Promise<void>((resolve) => (this.#room = resolve));
    this.#room = undefined;
  }

  /** Notes of a dead letter the versions that readers have of its record. */
  async #shadowRecord(record: LogRecord): Promise<ShadowRecord> {
    const { headers, value } = record;
    const topic = headerText(headers, errorHeader.topic);
    if (topic === undefined && value !== null) {
      const { decoder } = this.#support;
      await decoder.prepare(schemaIdOf(value));
      return { record, event: decoder.decode(value), unreadable: [] };
    }
    const vendor = vendorNames.find((name) => this.#support.topics.raw[name] === topic);
    const offset = headerText(headers, errorHeader.offset);
    const unreadable = this.#unsupported.get(`${vendor ?? ''}@${offset ?? ''}`) ?? [];
    for (const one of unreadable) one.isUnreadable = true;
    return { record, event: undefined, unreadable };
  }

  /** The events that readers have of the versions to be removed. */
  async #findPublished(): Promise<void> {
    if (this.#unsupported.size === 0) return;
    const all = [...this.#unsupported.values()].flat();
    const byEvent = new Map(all.map((one) => [one.eventId, one]));
    const { decoder, topics } = this.#support;
    for (const topic of Object.values(topics.priority)) {
      const range = await rangeOf(this.#support, topic, this.#context.partition);
      for await (const { headers, value } of recordsOf(this.#support, range)) {
        if (this.#isClosed) return;
        const one = byEvent.get(headerText(headers, 'event_id') ?? '');
        if (one === undefined || value === null) continue;
        await decoder.prepare(schemaIdOf(value));
        one.event = decoder.decode(value);
      }
    }
    const lost = all.filter(({ event }) => event === undefined).length;
    if (lost > 0)
      this.#support.log.warn(
        { task: `0_${this.#context.partition}`, lost },
        'events to remove are not in the topics any more',
      );
  }
}

/** A record of the shadow topic; without an event for a dead letter. */
interface ShadowRecord {
  readonly record: LogRecord;
  readonly event: BiometricEvent | undefined;
  /** The versions that readers have of a dead letter's record. */
  readonly unreadable: readonly Published[];
}

/** A version that readers have and this generation does not. */
interface Published extends Unsupported {
  /** The event that readers have, once found. */
  event?: BiometricEvent;
  /** Whether this generation cannot read its record any more. */
  isUnreadable?: boolean;
}

function add<T>(lists: Map<string, T[]>, name: string, one: T): void {
  const list = lists.get(name);
  if (list === undefined) lists.set(name, [one]);
  else list.push(one);
}
