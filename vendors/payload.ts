import { idText } from './json.ts';

/** A JSON object as it came. */
export type Payload = Readonly<Record<string, unknown>>;

/** Keys from the root of a payload to a value. */
export type Path = readonly string[];

/** Whether a value is a JSON object: no array, no null. */
export function isObject(value: unknown): value is Payload {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a payload has the form of the collector's envelopes; who wrote it is another question. */
export function isEnvelopeForm(value: unknown): boolean {
  return isObject(value) && Object.hasOwn(value, 'notification') && Object.hasOwn(value, 'resource');
}

/** The value at `path`; undefined where it, or anything above it, is absent or holds nothing. */
export function valueAt(payload: unknown, path: Path): unknown {
  let value = payload;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = own(value, key);
  }
  return value;
}

/** The first usable id at one of the paths; null when there is none, as in any other JSON than an object. */
export function firstId(payload: unknown, paths: readonly Path[]): string | null {
  for (const path of paths) {
    const id = idText(valueAt(payload, path));
    if (id !== null) return id;
  }
  return null;
}

/**
 * The finite number at `path`; null when it or anything above it is absent or null, undefined when something of
 * another type stands there or above.
 */
export function numberAt(payload: Payload, path: Path): number | null | undefined {
  let value: unknown = payload;
  for (const key of path) {
    if (value === undefined || value === null) return null;
    if (!isObject(value)) return undefined;
    value = own(value, key);
  }
  if (value === undefined || value === null) return null;
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

/** A field of a payload; `constructor` and its like are none. */
export function own(value: object, key: string): unknown {
  return Object.hasOwn(value, key) ? (value as Payload)[key] : undefined;
}
