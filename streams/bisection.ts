import { StreamsError } from './errors.ts';
import { partitionName, type InputRecord, type PartitionOffset } from './record.ts';

/**
 * Finds the record that the broker refuses (too large, an impossible timestamp) among those of a failed transaction:
 * halves transactions until it is alone in one, then its production handler decides. Meanwhile only partitions with
 * suspects are processed, so that the flow of the others can neither hide nor delay it.
 */
export class Bisection {
  /** The offset behind the last suspect of each partition, by partition name. */
  readonly #suspects = new Map<string, bigint>();
  /** The broker's reason by record. */
  readonly #refused = new Map<string, string>();
  #limit = Infinity;

  /** How many records a transaction may hold now; Infinity while there is no suspect. */
  get limit(): number {
    return this.#limit;
  }

  /** Whether records of this partition may be processed now. */
  mayTake(topic: string, partition: number): boolean {
    return this.#suspects.size === 0 || this.#suspects.has(partitionName(topic, partition));
  }

  /** Why the broker refuses what this record leads to; undefined unless it was found to. */
  refusalOf(record: InputRecord): string | undefined {
    return this.#refused.size === 0 ? undefined : this.#refused.get(recordName(record));
  }

  /**
   * Halves the limit after the broker refused a transaction, or marks its only record as refused.
   * @param attempt.ends - the next offsets behind its records.
   * @throws StreamsError HANDLER_FAILED when it refused the dead letter of a refused record.
   */
  narrow(
    attempt: { records: number; first: InputRecord | undefined; ends: readonly PartitionOffset[] },
    code: string,
  ): void {
    for (const { topic, partition, offset } of attempt.ends) {
      const name = partitionName(topic, partition);
      const known = this.#suspects.get(name);
      if (known === undefined || known < offset) this.#suspects.set(name, offset);
    }
    this.#limit = Math.max(1, attempt.records >> 1);
    if (attempt.records !== 1 || attempt.first === undefined) return;
    const name = recordName(attempt.first);
    if (this.#refused.has(name)) {
      throw new StreamsError(
        'HANDLER_FAILED',
        `the broker refuses the dead letter of ${name} as well (${code}): give the dead-letter topic the largest ` +
          'max.message.bytes and message.timestamp.after.max.ms of all topics, then start again',
      );
    }
    this.#refused.set(name, code);
  }

  /** Doubles the limit after a commit of `offsets`, and clears the suspects before them. */
  onCommit(offsets: readonly PartitionOffset[]): void {
    this.#limit *= 2;
    this.#clear(offsets);
  }

  /** Clears the suspects that another member owns, or that are behind the positions of a new assignment. */
  onAssignment(positions: readonly { topic: string; partition: number; position: bigint }[]): void {
    const ours = new Set(positions.map(({ topic, partition }) => partitionName(topic, partition)));
    for (const name of this.#suspects.keys()) if (!ours.has(name)) this.#suspects.delete(name);
    this.#clear(positions.map(({ topic, partition, position }) => ({ topic, partition, offset: position })));
  }

  #clear(positions: readonly PartitionOffset[]): void {
    for (const { topic, partition, offset } of positions) {
      const name = partitionName(topic, partition);
      const end = this.#suspects.get(name);
      if (end !== undefined && offset >= end) this.#suspects.delete(name);
    }
    if (this.#suspects.size > 0) return;
    this.#limit = Infinity;
    this.#refused.clear();
  }
}

function recordName({ topic, partition, offset }: InputRecord): string {
  return `${partitionName(topic, partition)} offset ${offset}`;
}
