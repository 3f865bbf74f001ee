/**
 * Thin notifications. Each names an object whose document the collector must append to the same raw topic, and to the
 * same partition, because both have the user as their key.
 */
import { receivedAtOf, collectorScheme, headerText, rawHeader } from '../schemas/raw-record.ts';
import type { InputRecord } from '../streams/index.ts';
import { vendors, type VendorName } from '../vendors/index.ts';
import { idText, parseJson } from '../vendors/json.ts';
import { isObject, valueAt, type Payload } from '../vendors/payload.ts';
import { placeOf } from './audit-figures.ts';

/** What a notification says. */
interface Notified {
  /** The type of the object, as the vendor's documents are named. */
  readonly type: string;
  readonly id: string | null;
  readonly isDeletion: boolean;
}

/** How notifications of a vendor are read. */
interface NotificationReader {
  /** Every notification contains these bytes, so that most other records need not be parsed. */
  readonly marker: string;
  /** Returns null for anything else. */
  readonly read: (payload: Payload) => Notified | null;
}

/** Of the vendors that send thin notifications. */
export const notificationReaders: Partial<Record<VendorName, NotificationReader>> = {
  oura: { marker: '"event_type"', read: readOura },
  whoop: { marker: '"type"', read: readWhoop },
};

function readOura({ event_type: event, data_type: type, object_id: id }: Payload): Notified | null {
  if (typeof type !== 'string' || (event !== 'create' && event !== 'update' && event !== 'delete'))
    return null;
  return { type, id: idText(id), isDeletion: event === 'delete' };
}

function readWhoop({ type: text, id }: Payload): Notified | null {
  const [type = '', action] = typeof text === 'string' ? text.split('.', 2) : [];
  if (action !== 'updated' && action !== 'deleted') return null;
  return { type, id: idText(id), isDeletion: action === 'deleted' };
}

/** A notification whose document has not been seen. */
export interface Waiting {
  /** Its place, `topic:partition:offset`. */
  readonly raw: string;
  readonly receivedAt: number;
}

interface Entry extends Waiting {
  readonly object: string;
  readonly isJudged: boolean;
}

/** At most this many notifications wait at a time in one partition; beyond that, the oldest is given up. */
const maxWaiting = 500_000;

/** The notifications of one raw partition, whose records are handed over in their order. */
export class Notifications {
  readonly #vendor: VendorName;
  readonly #types: ReadonlySet<string>;
  readonly #limit: number;
  /** By place, in the order of the log. */
  readonly #waiting = new Map<string, Entry>();
  readonly #byObject = new Map<string, Set<Entry>>();
  /** When the newest document of an object was fetched: one that was appended before its notification settles it as well. */
  readonly #fetchedAt = new Map<string, number>();
  /** Given up, because too many are waiting. */
  readonly #givenUp: Waiting[] = [];
  settled = 0;
  documents = 0;

  constructor(vendor: VendorName, limit = maxWaiting) {
    this.#vendor = vendor;
    this.#types = new Set<string>(vendors[vendor].documents.map(({ name }) => name));
    this.#limit = limit;
  }

  /** @param isJudged - whether the record counts if it is a notification; as a document it counts in any case. */
  take(record: InputRecord, isJudged: boolean): void {
    const reader = notificationReaders[this.#vendor];
    const { value, fault } = record;
    if (reader === undefined || value === null || fault !== undefined || !value.includes(reader.marker))
      return;
    const { read } = reader;
    const isDocument = headerText(record.headers, rawHeader.scheme) === collectorScheme;
    const json = parseJson(value);
    const payload = json.ok ? json.value : undefined;
    if (isDocument) {
      this.documents += 1;
      this.#onDocument(record, payload, read);
      return;
    }
    const notified = isObject(payload) ? read(payload) : null;
    if (notified === null || notified.id === null || !this.#types.has(notified.type)) return;
    const object = `${notified.type}:${notified.id}`;
    const receivedAt = receivedAtOf(record);
    // A deleted object can no longer be fetched.
    if (notified.isDeletion) this.#settle(object, receivedAt);
    else if ((this.#fetchedAt.get(object) ?? -1) >= receivedAt) this.settled += isJudged ? 1 : 0;
    else this.#wait({ raw: placeOf(record), receivedAt, object, isJudged });
  }

  /** The notifications that count and still wait, in the order of the log. */
  get waiting(): readonly Waiting[] {
    const waiting = [...this.#waiting.values()].filter(({ isJudged }) => isJudged);
    return [...this.#givenUp, ...waiting].map(({ raw, receivedAt }) => ({ raw, receivedAt }));
  }

  #onDocument(record: InputRecord, payload: unknown, read: (payload: Payload) => Notified | null): void {
    const fetchedAt = Number(headerText(record.headers, 'fetched_at') ?? receivedAtOf(record));
    const named = this.#waiting.get(headerText(record.headers, 'notification') ?? '');
    if (named !== undefined) this.#done(named);
    const notification = valueAt(payload, ['notification']);
    const notified = isObject(notification) ? read(notification) : null;
    if (notified === null) return;
    const { type } = notified;
    const ids = [notified.id, idText(valueAt(payload, ['resource', 'id']))];
    for (const id of new Set(ids)) {
      if (id === null) continue;
      const object = `${type}:${id}`;
      if (fetchedAt > (this.#fetchedAt.get(object) ?? -1)) this.#fetchedAt.set(object, fetchedAt);
      this.#settle(object, fetchedAt);
    }
  }

  #wait(entry: Entry): void {
    this.#waiting.set(entry.raw, entry);
    const others = this.#byObject.get(entry.object);
    if (others === undefined) this.#byObject.set(entry.object, new Set([entry]));
    else others.add(entry);
    if (this.#waiting.size <= this.#limit) return;
    const [oldest] = this.#waiting.values();
    if (oldest === undefined) return;
    if (oldest.isJudged) this.#givenUp.push(oldest);
    this.#forget(oldest);
  }

  #settle(object: string, until: number): void {
    for (const entry of this.#byObject.get(object) ?? []) if (entry.receivedAt <= until) this.#done(entry);
  }

  #done(entry: Entry): void {
    this.#forget(entry);
    if (entry.isJudged) this.settled += 1;
  }

  #forget(entry: Entry): void {
    this.#waiting.delete(entry.raw);
    const others = this.#byObject.get(entry.object);
    others?.delete(entry);
    if (others?.size === 0) this.#byObject.delete(entry.object);
  }
}
