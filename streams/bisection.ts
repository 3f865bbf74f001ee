import { StreamsError } from './errors.ts';
import { partitionName, type InputRecord, type PartitionOffset } from './record.ts';

/**
 * Finds the record that the broker refuses (too large, an impossible timestamp) among those of a failed transaction:
 * transactions halve until it stands alone, then its production handler decides. Only partitions with suspects are
 * processed meanwhile, so that the flow of the others can neither hide it nor put it off.
 */
export class Isolation {
  /** The offset behind the last suspect of each partition, by name. */
  readonly #suspects = new Map<string, bigint>();
  /** The broker's reason by record. */
  readonly #refused = new Map<string, string>();
  #limit = Infinity;

  /** How many records a transaction may hold now. */
  get limit(): number {
    return this.#limit;
  }

  /** Whether records of this partition may be processed now. */
  mayTake(topic: string, partition: number): boolean {
    return this.#suspects.size === 0 || this.#suspects.has(partitionName(topic, partition));
  }

  /** Why the broker refuses what this record leads to; undefined when it does not, as far as is known. */
  refusalOf(record: InputRecord): string | undefined {
    return this.#refused.size === 0 ? undefined : this.#refused.get(recordName(record));
  }

  /**
   * The broker refused a transaction.
   * @param attempt.ends - the next offsets behind its records.
   * @throws StreamsError HANDLER_FAILED when what it refused was already the dead letter of a refused record.
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

  /** A transaction that moved the positions to `offsets` is committed. */
  onCommit(offsets: readonly PartitionOffset[]): void {
    if (this.#limit === Infinity) return;
    this.#limit *= 2;
    this.#clear(offsets);
  }

  /** An assignment was taken over: suspects that others have, or that are behind us, are none any more. */
  onAssignment(positions: readonly { topic: string; partition: number; position: bigint }[]): void {
    if (this.#limit === Infinity) return;
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
