/*
 * The prices. A unit is a microsecond or less of the processor where they were measured (docs/performance.md). Only the
 * proportions matter: the limit is the topology's.
 */
/** For each value that enters an operator. */
const valueUnits = 1;
/** For each get, put, delete or look at a timestamp of a store. */
const accessUnits = 1;
/** For each output record. */
const outputUnits = 16;
/** One unit more for each started run of this many bytes: of the input record, because JSON is slow in the worst case, */
const inputBytesPerUnit = 8;
/** of keys and values that were read from a store or written to it, */
const storeBytesPerUnit = 1_024;
/** and of output records. */
const outputBytesPerUnit = 256;

/** Thrown inside of operators by the work that exceeds the limit; ends in a dead letter. */
export class TooMuchWork extends Error {
  override readonly name = 'TooMuchWork';
  readonly code = 'TOO_MUCH_WORK';
}

/**
 * Counts the work of one record against the limit of its topology. It counts what the record makes operators and stores
 * do, so that the same log fails the same records on every machine and at every speed. An expired entry counts as absent,
 * because the wall clock decides whether it is still there.
 */
export class Work {
  readonly #limit: number;
  #units = 0;
  #values = 0;
  #accesses = 0;
  #storeBytes = 0;
  #outputs = 0;
  #outputBytes = 0;
  #charged = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The units that the current record has cost so far. */
  get units(): number {
    return this.#units;
  }

  /** Starts counting for a record of this many bytes. */
  begin(inputBytes: number): void {
    this.#values = 0;
    this.#accesses = 0;
    this.#storeBytes = 0;
    this.#outputs = 0;
    this.#outputBytes = 0;
    this.#charged = 0;
    this.#units = Math.ceil(inputBytes / inputBytesPerUnit);
  }

  value(): void {
    this.#values += 1;
    this.#spend(valueUnits);
  }

  access(bytes: number): void {
    this.#accesses += 1;
    this.#storeBytes += bytes;
    this.#spend(accessUnits + Math.ceil(bytes / storeBytesPerUnit));
  }

  output(bytes: number): void {
    this.#outputs += 1;
    this.#outputBytes += bytes;
    this.#spend(outputUnits + Math.ceil(bytes / outputBytesPerUnit));
  }

  /** Work that an operator counts itself. */
  charge(units: number): void {
    this.#charged += units;
    this.#spend(units);
  }

  #spend(units: number): void {
    this.#units += units;
    if (this.#units <= this.#limit) return;
    throw new TooMuchWork(
      `the record takes more than the ${this.#limit} units of work that one may take; counted until then: ` +
        `${this.#values} values in operators, ${this.#accesses} uses of stores with ${this.#storeBytes} bytes, ` +
        `${this.#outputs} outputs with ${this.#outputBytes} bytes, ${this.#charged} units by operators themselves`,
    );
  }
}

/** Counts without a limit. */
export function unlimitedWork(): Work {
  return new Work(Infinity);
}
