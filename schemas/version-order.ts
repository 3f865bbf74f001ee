import type { BiometricEvent } from './biometric-event.ts';

/** What the versions of one resource are ordered by. */
export type Version = Pick<BiometricEvent, 'generation' | 'revision'> & {
  readonly raw: { readonly offset: number };
};

/**
 * Orders versions of one resource: by generation, then revision, then raw offset. The highest is the one that holds.
 * @returns below 0 when `a` comes before `b`, above 0 when it comes after, 0 when they are the same version.
 */
export function compareVersions(a: Version, b: Version): number {
  return a.generation - b.generation || a.revision - b.revision || a.raw.offset - b.raw.offset;
}
