import { StreamsError } from './errors.ts';

/** Converts values of one type to bytes and back, synchronously and purely. */
export interface Serde<T> {
  // Properties, not methods: so TypeScript checks the type of a serde in both directions.
  /** @throws SerdeError when the value does not fit the format. */
  readonly serialize: (value: T) => Buffer | null;
  /** @throws SerdeError when the bytes are not of this format. */
  readonly deserialize: (bytes: Buffer | null) => T;
}

/** Bytes that are not of the format, or a value that does not fit it. Never quotes either. */
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

/** A serde that only writes: a sink never reads. */
export function writeOnly<T>(serialize: (value: T) => Buffer | null): Serde<T> {
  return {
    serialize,
    deserialize: () => {
      throw new StreamsError('INVALID_TOPOLOGY', 'a write-only serde cannot read');
    },
  };
}

export const serdes = { utf8, bytes } as const;
