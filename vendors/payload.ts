import { idText } from './json.ts';

/** A JSON object as received. */
export type Payload = Readonly<Record<string, unknown>>;

/** Keys from the root of a payload to a value. */
export type Path = readonly string[];

/** Whether a value is a JSON object: not an array, not null. */
export function isObject(value: unknown): value is Payload {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a payload has the form of the collector's envelopes; does not check who wrote it. */
export function isEnvelopeForm(value: unknown): boolean {
  return isObject(value) && Object.hasOwn(value, 'notification') && Object.hasOwn(value, 'resource');
}

/** The value at `path`; undefined where it, or anything above it, is absent. */
export function valueAt(payload: unknown, path: Path): unknown {
  let value = payload;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = own(value, key);
  }
  return value;
}

/** The first usable id at one of the paths; null when there is none, or the payload is not an object. */
export function firstId(payload: unknown, paths: readonly Path[]): string | null {
  for (const path of paths) {
    const id = idText(valueAt(payload, path));
    if (id !== null) return id;
  }
  return null;
}

/** The finite number at `path`; null when it or anything above it is absent or null, undefined for another type. */
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

/** A field of a payload; inherited ones such as `constructor` do not count. */
export function own(value: object, key: string): unknown {
  return Object.hasOwn(value, key) ? (value as Payload)[key] : undefined;
}
