/** Which offset of a partition can be committed while its records end in any order. */

/** The records of a partition that are at work, or done beyond one that is. */
export class Window {
  readonly #entries: { readonly offset: bigint; isDone: boolean }[] = [];
  /** Entries before it are done and out of the window. */
  #first = 0;
  #next: bigint;

  /** @param next - the offset of the first record to come. */
  constructor(next: bigint) {
    this.#next = next;
  }

  /** The records that are not done, and those that are done beyond the first of them. */
  get size(): number {
    return this.#entries.length - this.#first;
  }

  /** The offset before which everything is done. */
  get next(): bigint {
    return this.#next;
  }

  /**
   * Adds the next record of the partition.
   * @param after - the offset to go on at once it is done: markers and aborted records may follow it.
   * @returns what to call when it is done.
   */
  add(after: bigint): () => void {
    const entry = { offset: after, isDone: false };
    this.#entries.push(entry);
    return () => {
      entry.isDone = true;
      for (
        let first = this.#entries[this.#first];
        first?.isDone === true;
        first = this.#entries[this.#first]
      ) {
        this.#next = first.offset;
        this.#first += 1;
      }
      // Shifting each would move all others.
      if (this.#first > 1_000 || this.#first === this.#entries.length) {
        this.#entries.splice(0, this.#first);
        this.#first = 0;
      }
    };
  }

  /** Goes on behind what holds no record; only while the window is empty. */
  skip(next: bigint): void {
    this.#next = next;
  }
}
