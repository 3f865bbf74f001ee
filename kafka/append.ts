import { within } from '../process/deadline.ts';
import { aloneBytes, recordBytes, type Appended, type AppendRecord, type Entry } from './append-batch.ts';
import { Lane, type AppendProducer, type LaneOptions, type SendGate } from './append-lane.ts';
import { partitionName } from './topic-partition.ts';

/** The broker that leads each partition, by `topic:partition`; `nobody` where none does. */
export type Leaders = ReadonlyMap<string, number>;

/** Stands for a broker where a partition has no leader, or none that is known. */
export const nobody = -1;

export interface AppenderOptions extends Omit<LaneOptions, 'createProducer' | 'onStalled' | 'onePartition'> {
  /** Creates an idempotent producer for the partitions that `broker` leads. Called again after every failed send. */
  readonly createProducer: (broker: number) => AppendProducer;
  /** Asks which brokers lead the partitions; rejects when no broker answers. */
  readonly leaders: () => Promise<Leaders>;
  readonly gate: SendGate;
}

/** What may wait for brokers that do not answer: beyond it a record of theirs fails at once. */
const heldUp = { records: 1_000, bytes: 16 * 1024 * 1024 } as const;
/** How often the leaders are asked for while a broker does not answer or the gate is closed; else every fifth time. */
const askEveryMs = 1_000;

/**
 * A group-commit producer for each broker: one send is in flight per broker, with records of the partitions it leads, and
 * those that arrive meanwhile share the next one. So a broker that is dead or slow holds up its own partitions only.
 *
 * The client follows a leader that moves, within a send. A partition goes over to the new leader's lane between two
 * sends, with the records that wait: it is never in flight in two, so its order holds.
 */
export class Appender {
  readonly #options: AppenderOptions;
  readonly #lanes = new Map<number, Lane>();
  /** The lane of each partition that has had records. */
  readonly #homes = new Map<string, Lane>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #asking: NodeJS.Timeout;
  #leaders: Leaders = new Map();
  #isAnswered = true;
  #asked: Promise<void> | undefined;
  #turns = 0;
  #heldUp = { records: 0, bytes: 0 };
  /** Whether a partition waits for the end of a send to go over to another lane. */
  #isMoving = false;
  #isStopped = false;

  constructor(options: AppenderOptions) {
    this.#options = options;
    this.#asking = setInterval(() => {
      this.#turns += 1;
      if (this.#isTroubled() || this.#turns % 5 === 0) void this.#ask();
    }, askEveryMs).unref();
  }

  /** Whether the last send to each broker, if any, was acknowledged. */
  get isHealthy(): boolean {
    return [...this.#lanes.values()].every(({ isHealthy }) => isHealthy);
  }

  /** Whether no broker takes records: none answers what leads what, or the last send to each failed or hangs. */
  get isDown(): boolean {
    return !this.#isAnswered || [...this.#lanes.values()].every(({ isStalled }) => isStalled);
  }

  /**
   * Resolves with the outcome once it is known, `late` after `deadlineMs`. Never rejects.
   * @param options.onHeldUp - called at most once, when the record has to wait for a broker that does not answer.
   */
  append(
    record: AppendRecord,
    { deadlineMs, onHeldUp }: { readonly deadlineMs: number; readonly onHeldUp?: () => void },
  ): Promise<Appended> {
    if (this.#isStopped) return Promise.resolve('stopped');
    if (this.#options.gate.isClosed()) return Promise.resolve('not_sent');
    const partition = partitionName(record);
    const lane = this.#home(partition);
    const bytes = recordBytes(record);
    if (lane.isStalled && !this.#hasRoom(bytes)) return Promise.resolve('failed');
    return new Promise((resolve) => {
      let isHeldUp = false;
      const entry: Entry = {
        record,
        partition,
        bytes,
        alone: bytes > aloneBytes,
        settled: false,
        settle: (outcome) => {
          if (entry.settled) return;
          entry.settled = true;
          clearTimeout(timer);
          if (isHeldUp) this.#count(-1, -bytes);
          resolve(outcome);
        },
        holdUp: () => {
          if (isHeldUp || entry.settled) return;
          isHeldUp = true;
          this.#count(1, bytes);
          onHeldUp?.();
        },
      };
      // A late record is no longer sent: its caller asks the vendor to send it again.
      const timer = setTimeout(() => {
        this.#homes.get(partition)?.remove(entry);
        entry.settle('late');
      }, deadlineMs);
      lane.add([entry]);
    });
  }

  /** Connects to every leader before the first record; a failure is reported by the records it fails. */
  async warmUp(): Promise<void> {
    await this.#ask();
    if (this.#isStopped) return;
    await Promise.all([...new Set(this.#leaders.values())].map((broker) => this.#lane(broker).warmUp()));
  }

  /** Refuses new records, sends the waiting ones and disconnects, each within `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#asking);
    for (const lane of this.#lanes.values()) this.#leave(lane.close(deadlineMs));
    await Promise.all([this.#asked, ...this.#leaving]);
  }

  #home(partition: string): Lane {
    let lane = this.#homes.get(partition);
    if (lane === undefined) {
      const leader = this.#leaders.get(partition);
      if (leader === undefined) void this.#ask();
      lane = this.#lane(leader ?? nobody);
      this.#homes.set(partition, lane);
    }
    return lane;
  }

  #lane(broker: number): Lane {
    let lane = this.#lanes.get(broker);
    if (lane === undefined) {
      const { createProducer, onSend } = this.#options;
      lane = new Lane({
        ...this.#options,
        createProducer: () => createProducer(broker),
        // What has no leader must not wait for other partitions that have none.
        onePartition: broker === nobody,
        onSend: (report) => {
          onSend?.(report);
          if (this.#isMoving) this.#moveHomes();
        },
        onStalled: () => void this.#ask(),
      });
      this.#lanes.set(broker, lane);
    }
    return lane;
  }

  /** Brings each partition to the lane of its leader; those of which a send is in flight follow after it. */
  #moveHomes(): void {
    if (this.#isStopped) return;
    this.#isMoving = false;
    for (const [partition, lane] of this.#homes) {
      const next = this.#lane(this.#leaders.get(partition) ?? nobody);
      if (next === lane) continue;
      if (lane.isSending(partition)) {
        this.#isMoving = true;
        continue;
      }
      this.#homes.set(partition, next);
      next.add(lane.take(partition));
    }
    const homes = new Set(this.#homes.values());
    const leaders = new Set(this.#leaders.values());
    for (const [broker, lane] of this.#lanes) {
      if (homes.has(lane) || leaders.has(broker)) continue;
      this.#lanes.delete(broker);
      this.#leave(lane.close(this.#options.ackDeadlineMs));
    }
  }

  /** Asks for the leaders, one question at a time; never rejects. */
  #ask(): Promise<void> {
    this.#asked ??= this.#askNow().finally(() => (this.#asked = undefined));
    return this.#asked;
  }

  async #askNow(): Promise<void> {
    const { leaders, gate, ackDeadlineMs } = this.#options;
    const wasClosed = gate.isClosed();
    try {
      this.#leaders = await within(leaders(), ackDeadlineMs, 'asking for the leaders');
      this.#isAnswered = true;
    } catch {
      this.#isAnswered = false;
      return;
    }
    this.#moveHomes();
    if (wasClosed && ![...this.#leaders.values()].includes(nobody)) gate.hurry();
  }

  #isTroubled(): boolean {
    return (
      !this.#isAnswered ||
      this.#options.gate.isClosed() ||
      [...this.#lanes.values()].some(({ isStalled }) => isStalled)
    );
  }

  #hasRoom(bytes: number): boolean {
    return this.#heldUp.records < heldUp.records && this.#heldUp.bytes + bytes <= heldUp.bytes;
  }

  #count(records: number, bytes: number): void {
    this.#heldUp.records += records;
    this.#heldUp.bytes += bytes;
  }

  #leave(closing: Promise<void>): void {
    const left = closing.finally(() => this.#leaving.delete(left));
    this.#leaving.add(left);
  }
}
