import { StreamsError, type RefusedLetter } from './errors.ts';
import type { StateStore } from './store.ts';
import { partitionName, type InputRecord, type OutputRecord, type PartitionOffset } from './record.ts';

/** A record that cannot be written, and Kafka's name of the reason. */
export interface RefusedRecord {
  readonly record: OutputRecord;
  readonly reason: string;
}

/** Thrown by a send for records that the broker refuses, or that no client can write: sending them again cannot help. */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  /** Kafka's name of the first reason. */
  readonly type: string;
  /** Empty when only several records together are refused, and the next send will have them in smaller batches. */
  readonly refused: readonly RefusedRecord[];
  constructor(type: string, refused: readonly RefusedRecord[]) {
    super(`records were refused: ${type}`);
    this.type = type;
    this.refused = refused;
  }
}

/** Remembers which input record led to each output of a transaction. */
export class Origins {
  // Arrays, because most transactions never ask: a map would cost as much as many an operator.
  readonly #inputs: InputRecord[] = [];
  readonly #outputs: (readonly OutputRecord[])[] = [];
  readonly #ends: number[] = [];

  /** Notes that `input` has just been processed, and that its outputs are the last of `outputs`. */
  note(input: InputRecord, outputs: readonly OutputRecord[]): void {
    this.#inputs.push(input);
    this.#outputs.push(outputs);
    this.#ends.push(outputs.length);
  }

  /**
   * The input record that is to blame for a refused record.
   * @param stores - those of its partition.
   */
  of({ record, reason }: RefusedRecord, stores: readonly StateStore[]): Origin | undefined {
    for (const store of stores) {
      const origins = store.originsOf(record);
      if (reason === 'INVALID_TIMESTAMP' && origins?.timestampOrigin !== undefined)
        return { input: origins.timestampOrigin, at: Infinity };
    }
    for (const [at, outputs] of this.#outputs.entries()) {
      const start = outputs === this.#outputs[at - 1] ? (this.#ends[at - 1] ?? 0) : 0;
      const input = this.#inputs[at];
      if (input !== undefined && outputs.slice(start, this.#ends[at]).includes(record)) return { input, at };
    }
    for (const store of stores) {
      const input = store.originsOf(record)?.origin;
      if (input !== undefined) return { input, at: Infinity };
    }
    return undefined;
  }
}

/** The input record that led to a record of the transaction. */
export interface Origin {
  readonly input: InputRecord;
  /** Its place among the input records; Infinity for a store entry that is written at the end of the transaction. */
  readonly at: number;
}

/** Why the broker refuses what an input record leads to. */
export interface Refusal {
  readonly reason: string;
  /** Set when it has refused the dead letter too. */
  readonly letter?: RefusedLetter;
}

/**
 * The input records whose outputs or store entries the broker has refused: their production handler decides when they
 * are processed again. Each is forgotten when the offset behind it is committed, or its task moves.
 */
export class Refusals {
  readonly #records = new Map<string, { readonly input: InputRecord; readonly refusal: Refusal }>();

  /** Why the broker refuses what `record` leads to; undefined unless it was found to. */
  of(record: InputRecord): Refusal | undefined {
    return this.#records.size === 0 ? undefined : this.#records.get(nameOf(record))?.refusal;
  }

  /**
   * Takes in what the broker has refused of a transaction.
   * @param originOf - the input record that led to a refused one.
   * @throws StreamsError HANDLER_FAILED when it refuses even the smallest dead letter of a record, BATCH_REFUSED when a
   *   refused record comes from none.
   */
  add(error: RefusedError, originOf: (refused: RefusedRecord) => Origin | undefined, nowMs: number): void {
    for (const { input, reason } of culprits(error, originOf)) {
      const name = nameOf(input);
      const before = this.#records.get(name)?.refusal;
      if (before?.letter !== undefined) {
        throw new StreamsError(
          'HANDLER_FAILED',
          `the broker refuses the dead letter of ${name} as well (${reason}): give the dead-letter topic the largest ` +
            'max.message.bytes and message.timestamp.after.max.ms of all topics, then start again',
        );
      }
      // Once refused, a record leads to nothing but its dead letter.
      const refusal = before === undefined ? { reason } : { ...before, letter: { reason, atMs: nowMs } };
      this.#records.set(name, { input, refusal });
    }
  }

  /** Forgets the records before `offsets`, which are committed. */
  onCommit(offsets: readonly PartitionOffset[]): void {
    this.#forget(offsets, () => false);
  }

  /** Forgets the records of partitions that are not among `positions`, and those before them. */
  onAssignment(positions: readonly { topic: string; partition: number; position: bigint }[]): void {
    const offsets = positions.map(({ topic, partition, position }) => ({
      topic,
      partition,
      offset: position,
    }));
    this.#forget(offsets, (offset) => offset === undefined);
  }

  #forget(offsets: readonly PartitionOffset[], isGone: (offset: bigint | undefined) => boolean): void {
    if (this.#records.size === 0) return;
    const next = new Map(offsets.map((one) => [partitionName(one), one.offset]));
    for (const [name, { input }] of this.#records) {
      const offset = next.get(partitionName(input));
      if (isGone(offset) || (offset !== undefined && input.offset < offset)) this.#records.delete(name);
    }
  }
}

/**
 * The input records that are to blame, each with its reason. A timestamp is a record's own. Anything else may be due to
 * what an earlier record put into the stores, so only the first of each partition counts: once that is out of the way,
 * the next may do no harm.
 */
function culprits(
  error: RefusedError,
  originOf: (refused: RefusedRecord) => Origin | undefined,
): Iterable<{ input: InputRecord; reason: string }> {
  const timed = new Map<string, { input: InputRecord; reason: string }>();
  const timedPartitions = new Set<number>();
  const first = new Map<number, Origin & { reason: string }>();
  for (const refused of error.refused) {
    const { topic, partition } = refused.record;
    const { reason } = refused;
    const origin = originOf(refused);
    if (origin === undefined) {
      throw new StreamsError(
        'BATCH_REFUSED',
        `the broker refuses a record of ${partitionName({ topic, partition })} (${reason}) that no input record led to: ` +
          'the settings of the topic do not fit what a store deletes; change them, then start again',
      );
    }
    if (reason === 'INVALID_TIMESTAMP') {
      timed.set(nameOf(origin.input), { input: origin.input, reason });
      timedPartitions.add(partition);
    } else if (origin.at < (first.get(partition)?.at ?? Infinity) || !first.has(partition)) {
      first.set(partition, { ...origin, reason });
    }
  }
  const others = [...first].filter(([partition]) => !timedPartitions.has(partition));
  return [...timed.values(), ...others.map(([, one]) => one)];
}

function nameOf({ topic, partition, offset }: InputRecord): string {
  return `${partitionName({ topic, partition })} offset ${offset}`;
}
