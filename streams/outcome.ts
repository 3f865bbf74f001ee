/** The answer of an operator that drops a value: unwanted data is an answer, not an exception. */
export class Dropped {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The answer of an operator that cannot process the record: all of it goes to the dead-letter topic. */
export class Rejected {
  readonly code: string;
  readonly message: string;
  constructor(code: string, message: string) {
    this.code = code;
    this.message = message;
  }
}

/** The answer of an operator that can process a part of the record: its values go on, and the record is dead-lettered. */
export class Partly<T> {
  readonly values: Iterable<T>;
  readonly code: string;
  readonly message: string;
  constructor(values: Iterable<T>, code: string, message: string) {
    this.values = values;
    this.code = code;
    this.message = message;
  }
}

/**
 * Leaves a value out: it is counted under `reason`, and nothing else happens.
 * @param reason - one of a small, fixed set: it labels a metric.
 */
export function drop(reason: string): Dropped {
  return new Dropped(reason);
}

/**
 * Refuses the record: it is dead-lettered in the same transaction, and its other outputs are taken back.
 * @param code - stable, in capitals.
 * @param message - names the field or position; must not quote the record.
 */
export function reject(code: string, message: string): Rejected {
  return new Rejected(code, message);
}

/**
 * Passes values on and dead-letters the record in the same transaction, once, with the first such answer. When the record
 * fails in this operator or a later one, it is dead-lettered for that reason only, and the values are taken back.
 * @param code - stable, in capitals.
 * @param message - names the field or position; must not quote the record.
 */
export function partly<T>(values: Iterable<T>, code: string, message: string): Partly<T> {
  return new Partly(values, code, message);
}
