/**
 * What an operator may return instead of a value: bad or unwanted data is an answer, not an exception.
 */
export class Dropped {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** The record cannot be processed and goes to the dead-letter topic whole. */
export class Rejected {
  readonly code: string;
  readonly message: string;
  constructor(code: string, message: string) {
    this.code = code;
    this.message = message;
  }
}

/**
 * The record is not for this topology; it is counted under `reason` and nothing else happens.
 * @param reason - one of a small, fixed set: it labels a metric.
 */
export function drop(reason: string): Dropped {
  return new Dropped(reason);
}

/**
 * The record is bad: it is dead-lettered in the same transaction, and what it had yielded so far is taken back.
 * @param code - stable, in capitals.
 * @param message - names the field or position; must not quote the record.
 */
export function reject(code: string, message: string): Rejected {
  return new Rejected(code, message);
}
