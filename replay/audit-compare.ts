/** Compares outputs as the audit must: bytes first, fields only where bytes differ. */
import type { BiometricEvent, Trigger } from '../schemas/biometric-event.ts';
import type { Headers, OutputHeaders, OutputRecord } from '../streams/index.ts';

type Bytes = Pick<OutputRecord, 'key' | 'value' | 'timestamp'>;

/** Whether key, value and timestamp are the same. */
export function sameBytes(one: Bytes, other: Bytes): boolean {
  return (
    one.timestamp === other.timestamp && sameBuffer(one.value, other.value) && sameBuffer(one.key, other.key)
  );
}

/**
 * Whether headers are the same.
 * @returns `other_build` when only the header `build` differs.
 */
export function sameHeaders(
  expected: OutputHeaders,
  found: Headers,
  build: string,
): 'same' | 'other_build' | false {
  let count = 0;
  let answer: 'same' | 'other_build' = 'same';
  for (const name in expected) {
    count += 1;
    if (sameHeader(expected[name], found[name])) continue;
    if (name !== 'build' || expected[name] !== build) return false;
    answer = 'other_build';
  }
  return Object.keys(found).length === count ? answer : false;
}

type Value = OutputHeaders[string];

function sameHeader(expected: Value | undefined, found: Value | undefined): boolean {
  if (expected === undefined || found === undefined) return false;
  if (expected === null || found === null) return expected === found;
  if (typeof expected === 'string')
    return typeof found === 'string'
      ? expected === found
      : Buffer.isBuffer(found) && found.toString() === expected;
  if (Buffer.isBuffer(expected)) return Buffer.isBuffer(found) && expected.equals(found);
  return (
    Array.isArray(found) &&
    expected.length === found.length &&
    expected.every((one, at) => sameBuffer(one, (found as (Buffer | null)[])[at] ?? null))
  );
}

function sameBuffer(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}

/**
 * The fields in which events differ, except the generation. Triggers that differ only in whether their alerts were raised
 * before are called `triggers.first` if only the recomputation sees them for the first time, otherwise
 * `triggers.repeated`.
 */
export function differingFields(expected: BiometricEvent, found: BiometricEvent): string[] {
  const names = (Object.keys(expected) as (keyof BiometricEvent)[]).filter(
    (name) =>
      name !== 'generation' && expected[name] !== found[name] && text(expected[name]) !== text(found[name]),
  );
  return names.map((name) => (name === 'triggers' ? triggersField(expected.triggers, found.triggers) : name));
}

function triggersField(expected: readonly Trigger[], found: readonly Trigger[]): string {
  const others = (triggers: readonly Trigger[]): string =>
    text(triggers.map((one) => ({ ...one, first: false })));
  if (others(expected) !== others(found)) return 'triggers';
  return expected.every(({ first }, at) => first || found[at]?.first === false)
    ? 'triggers.first'
    : 'triggers.repeated';
}

function text(value: unknown): string {
  // Maps of a decoded event keep the order in which they were written.
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}
