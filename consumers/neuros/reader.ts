/** Reads the topic of one priority: keeps lanes filled, and commits what is done without a gap. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Admin, KafkaConnection } from '../../kafka/client.ts';
import type { Fetched } from '../../kafka/fetch.ts';
import { GroupFetch, type AssignedPartition } from '../../kafka/group-fetch.ts';
import { queuedBytes } from '../../kafka/record.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { partitionName } from '../../kafka/topic-partition.ts';
import { settlesWithin } from '../../process/deadline.ts';
import type { Priority } from '../../schemas/biometric-event.ts';
import type { Lanes, Work } from './lanes.ts';
import type { NeurosLog } from './options.ts';
import { Window } from './window.ts';

/** The parts of a reader. */
export interface ReaderParts {
  readonly connection: KafkaConnection;
  readonly admin: Admin;
  readonly priority: Priority;
  readonly topic: string;
  readonly partitions: number;
  readonly groupId: string;
  readonly maxAhead: number;
  readonly startAt: 'earliest' | 'latest';
  readonly lanes: Lanes;
  /** Begins a delivery of a record. */
  readonly deliver: (record: LogRecord, isOurs: () => boolean) => { attempt(): Promise<number | undefined> };
  readonly log: NeurosLog;
  readonly onError: (error: unknown) => void;
}

/** Of what is fetched and not done: bytes at which a partition is not fetched any more, and at which none is. */
const maxBytes = 2 * 1024 * 1024;
const maxBytesInAll = 64 * 1024 * 1024;
/** How long the last commit may take. */
const flushMs = 2_000;
/** Between two commits of a partition. What was done since the last one comes again after a crash. */
const commitEveryMs = 100;
/** How often the end of a partition is asked for that is not fetched: a fetch would say it. */
const endsEveryMs = 5_000;

/** What a reader holds of an assigned partition. */
interface Held {
  readonly window: Window;
  /** Fetched, but beyond the window. */
  readonly waiting: Fetched[];
  /** How many records of the first of `waiting` are in the window already. */
  taken: number;
  bytes: number;
  isCommitting: boolean;
}

/** A member of the group of one priority. */
export class PriorityReader {
  readonly #parts: ReaderParts;
  readonly #fetch: GroupFetch;
  readonly #held = new Map<AssignedPartition, Held>();
  readonly #closing = new AbortController();
  #endsTimer: NodeJS.Timeout | undefined;
  #isAskingEnds = false;

  constructor(parts: ReaderParts) {
    const { connection, admin, groupId, topic, partitions, startAt, priority, lanes, log, onError } = parts;
    this.#parts = parts;
    this.#fetch = new GroupFetch(
      connection,
      admin,
      { groupId, topics: [topic], partitions, startAt, log },
      {
        wanted: (assigned) => this.#wanted(assigned),
        onFetched: (partition, fetched) => this.#onFetched(partition, fetched),
        onOutOfRange: (partition) => this.#reset(partition),
        onAssigned: (assigned) => {
          this.#retain(assigned);
          lanes.release(priority);
        },
        // What is at work ends and is committed, so that the next owner does not hand it over again.
        onRebalance: () => lanes.hold(priority).then(() => this.#flush()),
        onError,
      },
    );
  }

  start(): void {
    this.#fetch.start();
    this.#endsTimer = setInterval(() => void this.#askEnds(), endsEveryMs);
  }

  /** Asks for records again, after a pause. */
  wake(): void {
    this.#fetch.wake();
  }

  /** Commits what is done, and leaves the group. Nothing may be at work any more. */
  async close(): Promise<void> {
    this.#closing.abort();
    clearInterval(this.#endsTimer);
    // The group may not answer.
    await settlesWithin(this.#flush(), flushMs);
    await this.#fetch.close();
  }

  get isJoined(): boolean {
    return this.#fetch.isJoined();
  }

  /** What has stood still for longer than `limitMs`, without an outage as its reason. */
  stalls(limitMs: number): ReturnType<GroupFetch['stalls']> {
    return this.#fetch.stalls(limitMs);
  }

  /** A server that the handlers need does not answer, or they are paused. */
  excuse(): void {
    this.#fetch.excuse();
  }

  /** Of each assigned partition, how many offsets lie between what is done and the end; some may hold no record. */
  lag(): { readonly partition: number; readonly records: number }[] {
    return [...this.#held].map(([{ partition, end }, { window }]) => ({
      partition,
      records: Math.max(0, Number(end - window.next)),
    }));
  }

  #retain(assigned: readonly AssignedPartition[]): void {
    const kept = new Set(assigned);
    for (const partition of this.#held.keys()) {
      if (kept.has(partition)) continue;
      this.#held.delete(partition);
      const lanes = lanePrefix(partition);
      this.#parts.lanes.drop((key) => key.startsWith(lanes));
    }
    for (const partition of assigned) {
      if (this.#held.has(partition)) continue;
      const window = new Window(partition.position);
      this.#held.set(partition, { window, waiting: [], taken: 0, bytes: 0, isCommitting: false });
    }
  }

  #wanted(assigned: Iterable<AssignedPartition>): AssignedPartition[] {
    const { lanes, priority, maxAhead } = this.#parts;
    if (lanes.isPaused(priority)) return [];
    let bytes = 0;
    for (const held of this.#held.values()) bytes += held.bytes;
    if (bytes >= maxBytesInAll) return [];
    return [...assigned].filter((partition) => {
      const held = this.#held.get(partition);
      if (held === undefined) return false;
      return held.waiting.length === 0 && held.window.size < maxAhead && held.bytes < maxBytes;
    });
  }

  #onFetched(partition: AssignedPartition, fetched: Fetched): void {
    const held = this.#held.get(partition);
    if (held === undefined) return;
    held.bytes += queuedBytes(fetched.records);
    held.waiting.push(fetched);
    this.#admit(partition, held);
  }

  /** For lag(), which would stand still while a handler hangs or the priority is paused. */
  async #askEnds(): Promise<void> {
    const wanted = new Set(this.#wanted(this.#held.keys()));
    const others = [...this.#held.keys()].filter((partition) => !wanted.has(partition));
    if (this.#isAskingEnds || others.length === 0) return;
    this.#isAskingEnds = true;
    try {
      const ends = await this.#parts.admin.fetchTopicOffsets(this.#parts.topic);
      for (const partition of others) {
        const high = BigInt(ends.find((end) => end.partition === partition.partition)?.high ?? 0);
        if (high > partition.end) partition.end = high;
      }
    } catch {
      // Asked for again; that the brokers do not answer shows elsewhere.
    } finally {
      this.#isAskingEnds = false;
    }
  }

  /** Moves records into the window while it has room. */
  #admit(partition: AssignedPartition, held: Held): void {
    const { lanes, priority, maxAhead } = this.#parts;
    const added: { key: string; work: Work }[] = [];
    for (let fetched = held.waiting[0]; fetched !== undefined; fetched = held.waiting[0]) {
      const { records, nextOffset } = fetched;
      while (held.taken < records.length && held.window.size < maxAhead) {
        const record = records[held.taken];
        held.taken += 1;
        if (record === undefined) continue;
        // A faulty batch may be the last record; markers and aborted records may follow any other.
        const isLast = held.taken === records.length;
        const after = isLast ? nextOffset : (record.fault?.lastOffset ?? record.offset) + 1n;
        added.push({ key: laneOf(partition, record), work: this.#work(partition, held, record, after) });
      }
      if (held.taken < records.length) break;
      if (records.length === 0) held.window.add(nextOffset)();
      held.waiting.shift();
      held.taken = 0;
    }
    for (const { key, work } of added) lanes.add(priority, key, work);
    void this.#commit(partition, held);
  }

  #work(partition: AssignedPartition, held: Held, record: LogRecord, after: bigint): Work {
    const done = held.window.add(after);
    const delivery = this.#parts.deliver(record, () => this.#fetch.isCurrent(partition));
    return {
      attempt: () => delivery.attempt(),
      done: () => {
        if (!this.#fetch.isCurrent(partition)) return;
        done();
        held.bytes -= queuedBytes([record]);
        this.#admit(partition, held);
        if (partition.isOutOfRange) this.#reset(partition);
        this.#fetch.wake();
      },
    };
  }

  /** Goes on at the beginning of a log that no longer has the position, after what is at work. */
  #reset(partition: AssignedPartition): void {
    const held = this.#held.get(partition);
    if (held === undefined || held.window.size > 0 || held.waiting.length > 0) return;
    this.#fetch
      .reset(partition)
      .then(() => {
        held.window.skip(partition.position);
        this.#fetch.wake();
      })
      .catch(this.#parts.onError);
  }

  /** Commits until nothing is left to commit, one request after the other. */
  async #commit(partition: AssignedPartition, held: Held): Promise<void> {
    if (held.isCommitting) return;
    held.isCommitting = true;
    try {
      while (held.window.next > partition.committed && this.#fetch.isCurrent(partition)) {
        await sleep(commitEveryMs, undefined, { signal: this.#closing.signal });
        const { next } = held.window;
        // What the group refuses for another reason than a rebalance is tried again with the next record.
        if (!(await this.#fetch.commit(partition, next)) || partition.committed < next) return;
      }
    } catch (error) {
      if (!this.#closing.signal.aborted) this.#parts.onError(error);
    } finally {
      held.isCommitting = false;
    }
  }

  /** Commits at once what is done. */
  async #flush(): Promise<void> {
    await Promise.all(
      [...this.#held].map(async ([partition, { window }]) => {
        if (window.next > partition.committed) await this.#fetch.commit(partition, window.next);
      }),
    );
  }
}

function lanePrefix(partition: AssignedPartition): string {
  return `${partitionName(partition)}/`;
}

function laneOf(partition: AssignedPartition, { key, offset }: LogRecord): string {
  // A record without a key belongs to nobody, and waits for nobody.
  return `${lanePrefix(partition)}${key === null ? `@${offset}` : `=${key.toString('latin1')}`}`;
}
