/** Makes avsc refuse hostile bytes, and values that only look right. */
import avro from 'avsc';

export type AvroType = avro.Type;
export type AvroResolver = ReturnType<avro.Type['createResolver']>;

/**
 * Creates the avsc type of a schema, with unions unwrapped (`hrv: 58`, not `{ double: 58 }`), records as plain objects,
 * doubles finite, and block counts bounded by the remaining bytes. Refuses a union whose branches an unwrapped value
 * cannot distinguish.
 * @param avscText - the schema as JSON text.
 * @throws Error when the text is not a usable schema; its message may quote the schema, which is not secret.
 */
export function avroType(avscText: string): AvroType {
  const type = avro.Type.forSchema(JSON.parse(avscText) as avro.Schema, {
    wrapUnions: 'never',
    omitRecordMethods: true,
    typeHook: strictType,
  });
  makeRecordsPlain(type, new Set());
  return type;
}

/** The position in the bytes, shared by avsc's own reading functions. */
interface Tap {
  readonly buf: Buffer;
  pos: number;
  readLong(): number;
  readString(): string;
  skipString(): void;
  writeDouble(value: number): void;
}

/** The internal contract between avsc's types, which its typings leave out. */
interface Codable {
  _read(tap: Tap): unknown;
  _skip(tap: Tap): void;
}

type ErrorHook = (value: unknown, type: AvroType) => void;

// NaN and the infinities are Avro doubles but not measurements, and JSON, SQL and the rules do not expect them.
class FiniteDouble extends avro.types.DoubleType {
  _check(value: unknown, _flags: number, hook?: ErrorHook): boolean {
    if (Number.isFinite(value)) return true;
    hook?.(value, this);
    return false;
  }
  _write(tap: Tap, value: unknown): void {
    if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error('not a finite double');
    tap.writeDouble(value);
  }
}

// avsc trusts the count in front of a block: five bytes can ask for an array of 2^34 items and end the process. An item
// takes at least one byte in every schema of ours, so a count beyond the remaining bytes is false.
class BoundedArray extends avro.types.ArrayType {
  _read(tap: Tap): unknown[] {
    const items = this.itemsType as unknown as Codable;
    const values: unknown[] = [];
    forEachItem(tap, () => values.push(items._read(tap)));
    return values;
  }
  _skip(tap: Tap): void {
    const items = this.itemsType as unknown as Codable;
    forEachItem(tap, () => items._skip(tap));
  }
}

class BoundedMap extends avro.types.MapType {
  _read(tap: Tap): Record<string, unknown> {
    const values = this.valuesType as Codable;
    const entries: Record<string, unknown> = {};
    forEachItem(tap, () => {
      const key = tap.readString();
      entries[key] = values._read(tap);
    });
    return entries;
  }
  _skip(tap: Tap): void {
    const values = this.valuesType as Codable;
    forEachItem(tap, () => {
      tap.skipString();
      values._skip(tap);
    });
  }
}

function forEachItem(tap: Tap, visit: () => void): void {
  for (;;) {
    let count = tap.readLong();
    if (count === 0) return;
    if (count < 0) {
      // A negative count is followed by the size of the block in bytes.
      count = -count;
      tap.readLong();
    }
    if (count > tap.buf.length - tap.pos) throw new Error('a block counts more items than there are bytes');
    for (; count > 0; count -= 1) visit();
  }
}

function strictType(schema: avro.Schema, options: avro.ForSchemaOptions): AvroType | undefined {
  if (schema === 'double') return new FiniteDouble();
  if (typeof schema !== 'object' || !('type' in schema)) return undefined;
  if (schema.type === 'double') return new FiniteDouble();
  if (schema.type === 'array') return new BoundedArray(schema, options);
  if (schema.type === 'map') return new BoundedMap(schema, options);
  return undefined;
}

// avsc creates records with a constructor of its own; given Object's prototype, they are like literals to deep comparison
// and structured cloning.
function makeRecordsPlain(type: AvroType, seen: Set<AvroType>): void {
  if (seen.has(type)) return;
  seen.add(type);
  if (type instanceof avro.types.RecordType) {
    (type.recordConstructor as { prototype: object }).prototype = Object.prototype;
    for (const field of type.fields) makeRecordsPlain(field.type, seen);
  } else if (type instanceof avro.types.ArrayType) {
    makeRecordsPlain(type.itemsType, seen);
  } else if (type instanceof avro.types.MapType) {
    makeRecordsPlain(type.valuesType as AvroType, seen);
  } else if (type instanceof avro.types.UnwrappedUnionType) {
    for (const branch of type.types) makeRecordsPlain(branch, seen);
  }
}
