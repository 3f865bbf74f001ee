/** Something of an export that cannot be read. */
export interface Fault {
  readonly code: 'BAD_TIMESTAMP' | 'INVALID_FIELD';
  /** Where it is in the payload. */
  readonly path: string;
  /** What is wrong with it; never quotes it. */
  readonly what: string;
}

/** @param path - of what is missing, or is no date. */
export function badDate(path: string): Fault {
  return { code: 'BAD_TIMESTAMP', path, what: 'is missing, or no date and time' };
}

/** @param path - of what has another type than the format says. */
export function wrongType(path: string): Fault {
  return { code: 'INVALID_FIELD', path, what: 'is not what the format has there' };
}

/** @param path - of what is no list of `things`. */
export function noList(path: string, things: string): Fault {
  return { code: 'INVALID_FIELD', path, what: `is no list of ${things}` };
}

/** @param path - of the unit. */
export function noUnit(path: string): Fault {
  return { code: 'INVALID_FIELD', path, what: 'is no unit of this metric' };
}
