/** Confluent wire format: 0x00, the schema id as 4 bytes big-endian, then Avro without a header. */
import { avroType, type AvroResolver, type AvroType } from './avro.ts';
import { biometricEventAvsc, type BiometricEvent } from './biometric-event.ts';

/** A value violates the contract, which is an error of the caller. Names the field, never its value. */
export class EncodeError extends Error {
  override readonly name = 'EncodeError';
  readonly code: 'invalid_field' | 'undeclared_field';
  /** Where the value is wrong, as in `triggers[0].value`; empty for the event itself. */
  readonly path: string;
  constructor(code: EncodeError['code'], path: string, expected: string) {
    const where = path === '' ? 'the event' : path;
    super(
      code === 'invalid_field'
        ? `the event cannot be encoded: ${where} is not ${expected}`
        : `the event cannot be encoded: ${where} has a field that the schema does not declare`,
    );
    this.code = code;
    this.path = path;
  }
}

export type DecodeErrorCode =
  /** Shorter than the five bytes in front of every value. */
  | 'too_short'
  /** Does not begin with 0x00: not written by a client of a schema registry. */
  | 'not_wire_format'
  /** The bytes do not match their schema: truncated, a wrong length or index, a long beyond 2^53. */
  | 'corrupt'
  /** Bytes remain after the value. */
  | 'trailing_bytes'
  /** Decodes to what the contract does not allow: a number that is not finite, or an int beyond 32 bits. */
  | 'invalid_value'
  /** The writer's schema cannot be read as ours. */
  | 'incompatible_schema';

/** Bytes that are not an event and never will be: the caller sets the record aside and goes on. Never quotes the bytes. */
export class DecodeError extends Error {
  override readonly name = 'DecodeError';
  readonly code: DecodeErrorCode;
  constructor(code: DecodeErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}

/** The writer's schema has not been loaded yet: the caller awaits `prepare(id)` and decodes again. */
export class UnknownSchemaId extends Error {
  override readonly name = 'UnknownSchemaId';
  readonly id: number;
  constructor(id: number) {
    super(`schema ${id} has not been loaded: prepare(${id}) first`);
    this.id = id;
  }
}

/** Encodes an event under one schema id. Throws {@link EncodeError}. */
export type Encode = (event: BiometricEvent) => Buffer;

/**
 * Creates an encoder of events under a registered schema.
 * @param schemaId - the id under which the registry knows `avsc` for the subject that is written to.
 */
export function createEncoder(schemaId: number, avsc: string = biometricEventAvsc): Encode {
  const type = avroType(avsc);
  // Values are written one after the other into a slab and returned as views of it: no copy and no allocation for each.
  // The slab lives as long as one of its values, which is until they are sent.
  let slab = Buffer.alloc(0);
  let free = 0;
  const write = (event: BiometricEvent): number => {
    if (slab.length - free <= headBytes) return -slabBytes;
    slab[free] = 0;
    slab.writeUInt32BE(schemaId, free + 1);
    return type.encode(event, slab, free + headBytes);
  };
  return (event) => {
    if (!type.isValid(event, strict)) throw firstFault(type, event);
    let end = write(event);
    if (end < 0) {
      // avsc returns the number of missing bytes, as a negative number.
      slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, headBytes + (slab.length - free) - end));
      free = 0;
      end = write(event);
    }
    const value = slab.subarray(free, end);
    free = end;
    return value;
  };
}

const slabBytes = 64 * 1024;
const strict = { noUndeclaredFields: true };

/** Decodes events of any writer schema that has been prepared. */
export interface Decoder {
  /**
   * Synchronous, so that no rebalance comes between the records of a batch.
   * @throws UnknownSchemaId when `prepare` has not seen the id yet.
   * @throws DecodeError when the bytes are not an event.
   */
  decode(value: Buffer): BiometricEvent;
  /**
   * Loads the writer schema of an id once, and builds the resolver from it to ours. Rejects with the error of the lookup
   * (the registry is down, or has no such id). Does not reject for an unusable or incompatible schema: `decode` then
   * throws DecodeError `incompatible_schema` for its records.
   */
  prepare(id: number): Promise<void>;
}

/**
 * @param loadType - the type of a writer schema by its id, from the registry; undefined when it is unusable.
 * @param readerAvsc - the schema that readers of this process know; defaults of its fields and enums fill in what
 *   an older or newer writer says differently.
 */
export function createDecoder(
  loadType: (id: number) => Promise<AvroType | undefined>,
  readerAvsc: string = biometricEventAvsc,
): Decoder {
  const reader = avroType(readerAvsc);
  const resolvers = new Map<number, AvroResolver | 'incompatible'>();
  return {
    async prepare(id) {
      if (resolvers.has(id)) return;
      resolvers.set(id, resolverOf(reader, await loadType(id)));
    },
    decode(value) {
      const id = schemaIdOf(value);
      const resolver = resolvers.get(id);
      if (resolver === undefined) throw new UnknownSchemaId(id);
      if (resolver === 'incompatible') {
        throw new DecodeError(
          'incompatible_schema',
          `schema ${id} cannot be read as this version's: check it with bridge schemas check, then update the reader`,
        );
      }
      return read(reader, resolver, value);
    },
  };
}

/** Finds the raw record that an event was made from, at a fraction of what decoding the event takes. */
export interface RawRefReader {
  /** @throws UnknownSchemaId or DecodeError, as {@link Decoder} does. */
  read(value: Buffer): BiometricEvent['raw'];
  /** As of {@link Decoder}. */
  prepare(id: number): Promise<void>;
}

/** @param loadType - as of createDecoder(). */
export function createRawRefReader(loadType: (id: number) => Promise<AvroType | undefined>): RawRefReader {
  const { fields, ...event } = JSON.parse(biometricEventAvsc) as { fields: { name: string }[] };
  const only = { ...event, fields: fields.filter(({ name }) => name === 'raw') };
  const { prepare, decode } = createDecoder(loadType, JSON.stringify(only));
  return { prepare, read: (value) => decode(value).raw };
}

/**
 * The schema id in front of a value.
 * @throws DecodeError `too_short` or `not_wire_format`.
 */
export function schemaIdOf(value: Buffer): number {
  if (value.length < headBytes) {
    throw new DecodeError(
      'too_short',
      `${value.length} bytes are not an event: the wire format begins with five`,
    );
  }
  if (value[0] !== 0) {
    throw new DecodeError(
      'not_wire_format',
      'the value does not begin with the zero byte of the wire format',
    );
  }
  return value.readUInt32BE(1);
}

const headBytes = 5;

function resolverOf(reader: AvroType, writer: AvroType | undefined): AvroResolver | 'incompatible' {
  if (writer === undefined) return 'incompatible';
  try {
    return reader.createResolver(writer);
  } catch {
    return 'incompatible';
  }
}

function read(reader: AvroType, resolver: AvroResolver, value: Buffer): BiometricEvent {
  let result: { value: unknown; offset: number };
  try {
    result = reader.decode(value, headBytes, resolver);
  } catch {
    // avsc's message can quote what it read.
    throw new DecodeError('corrupt', 'the bytes do not match their schema');
  }
  if (result.offset < 0) throw new DecodeError('corrupt', 'the value ends before its schema does');
  if (result.offset !== value.length) {
    throw new DecodeError('trailing_bytes', `${value.length - result.offset} bytes remain after the value`);
  }
  if (!reader.isValid(result.value)) {
    const fault = firstFault(reader, result.value);
    throw new DecodeError('invalid_value', `${fault.path} does not hold what the contract allows`);
  }
  return result.value as BiometricEvent;
}

// Validates once more, slowly, to name the field.
function firstFault(type: AvroType, value: unknown): EncodeError {
  let fault: EncodeError | undefined;
  const errorHook = (path: string[], found: unknown, expected: AvroType): void => {
    if (fault !== undefined) return;
    const undeclared = expected.typeName === 'record' && typeof found === 'object' && found !== null;
    fault = new EncodeError(
      undeclared ? 'undeclared_field' : 'invalid_field',
      pathText(type, path),
      expectation(expected),
    );
  };
  type.isValid(value, { noUndeclaredFields: true, errorHook });
  return fault ?? new EncodeError('invalid_field', '', 'as the schema requires');
}

interface Nested {
  readonly typeName: string;
  readonly itemsType?: AvroType;
  readonly valuesType?: AvroType;
  readonly types?: readonly AvroType[];
  field?(name: string): { readonly type: AvroType } | undefined;
}

// Keys of a map are data like its values, so they are shown as [*].
function pathText(type: AvroType, path: readonly string[]): string {
  let text = '';
  let at: Nested | undefined = type;
  for (const step of path) {
    const record: Nested | undefined = at?.types?.find((branch) => branch.typeName !== 'null') ?? at;
    if (record?.itemsType !== undefined) {
      text += `[${step}]`;
      at = record.itemsType;
    } else if (record?.valuesType !== undefined) {
      text += '[*]';
      at = record.valuesType;
    } else {
      text += text === '' ? step : `.${step}`;
      at = record?.field?.(step)?.type;
    }
  }
  return text;
}

function expectation(type: AvroType): string {
  switch (type.typeName) {
    case 'double':
      return 'a finite number';
    case 'long':
      return 'a whole number within 2^53';
    case 'int':
      return 'a whole number within 32 bits';
    case 'enum':
      return `one of the symbols of ${type.name ?? 'its enum'}`;
    case 'union:unwrapped': {
      const branches = (type as Nested).types ?? [];
      return branches
        .map((branch) => (branch.typeName === 'null' ? 'null' : expectation(branch)))
        .join(' or ');
    }
    case 'record':
      return 'a record';
    default:
      return `of type ${type.typeName}`;
  }
}
