import type { SignatureScheme } from '../schemes.ts';

/** What the ingress knows of a vendor: how it signs, whom a body is about, and which headers belong to the record. */
export interface Vendor {
  /** The vendor's own schemes, strongest first; the plain one is added behind them where it is switched on. */
  readonly schemes: readonly SignatureScheme[];
  /** The members of a body that `userId` looks into: of a large one no others are read. */
  readonly members: readonly string[];
  /**
   * The user a parsed body is about, which becomes the record's key; null when it names none (control events,
   * bodies of another shape, and anything else that is JSON).
   */
  userId(body: unknown): string | null;
  /** Names of request headers kept in the raw record as they came, lower case; a trailing `*` stands for any ending. */
  readonly keptHeaders: readonly string[];
}

/** The member of a JSON object, undefined for anything else; inherited properties are none of its members. */
export function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) {
    return undefined;
  }
  return (value as Readonly<Record<string, unknown>>)[name];
}
