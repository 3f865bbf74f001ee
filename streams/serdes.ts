import { StreamsError } from './errors.ts';

/** Turns values of one type into bytes and back; both directions are synchronous and pure. */
export interface Serde<T> {
  // Properties, not methods: TypeScript then refuses a serde of another type in both directions.
  /** @throws SerdeError when the value does not fit; any other error is a fault of the program. */
  readonly serialize: (value: T) => Buffer | null;
  /** @throws SerdeError when the bytes are not of this format. */
  readonly deserialize: (bytes: Buffer | null) => T;
}

/** Bytes that are not what they should be, or a value that does not fit its format. Never quotes either. */
export class SerdeError extends Error {
  override readonly name = 'SerdeError';
  /** Stable, in capitals: `NOT_JSON`, `BAD_AVRO`. */
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

const utf8: Serde<string | null> = {
  serialize: (value) => (value === null ? null : Buffer.from(value, 'utf8')),
  deserialize: (bytes) => bytes?.toString('utf8') ?? null,
};

const bytes: Serde<Buffer | null> = {
  serialize: (value) => value,
  deserialize: (value) => value,
};

/** A serde for one direction only: a topology's sink needs no way back. */
export function writeOnly<T>(serialize: (value: T) => Buffer | null): Serde<T> {
  return {
    serialize,
    deserialize: () => {
      throw new StreamsError('INVALID_TOPOLOGY', 'a write-only serde was asked to read');
    },
  };
}

export const serdes = { utf8, bytes } as const;
