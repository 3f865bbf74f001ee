/**
 * Record batches (magic 2) and produce requests as Kafka's documentation describes them, written for clarity alone and
 * without a line of kafkajs: https://kafka.apache.org/documentation/#recordbatch, https://kafka.apache.org/protocol
 */

export type Bytes = Buffer | string | null;

export interface BatchRecord {
  readonly offsetDelta: number;
  readonly timestampDelta: bigint;
  readonly key?: Bytes;
  readonly value?: Bytes;
  readonly headers?: readonly (readonly [name: string, value: Bytes])[];
}

export interface RecordBatch {
  readonly firstOffset?: bigint;
  readonly firstTimestamp: bigint;
  readonly maxTimestamp?: bigint;
  /** The end of the batch, which compaction leaves where it was. Default: the last of the records. */
  readonly lastOffsetDelta?: number;
  /** The number of the codec, and what it does. Default: none. */
  readonly codec?: number;
  readonly compress?: (records: Buffer) => Promise<Buffer>;
  readonly transactional?: boolean;
  /** Further bits of the attributes: 8 for timestamps of the broker, 32 for a control batch. */
  readonly attributes?: number;
  /** What the header says of their number. Default: the truth. */
  readonly count?: number;
  readonly producerId?: bigint;
  readonly producerEpoch?: number;
  readonly firstSequence?: number;
  readonly records: readonly BatchRecord[];
}

export interface ProduceRequest {
  readonly version: number;
  readonly correlationId: number;
  readonly clientId: string;
  readonly transactionalId: string | null;
  readonly acks: number;
  readonly timeoutMs: number;
  readonly topics: readonly {
    readonly topic: string;
    readonly partitions: readonly { readonly partition: number; readonly batch: RecordBatch }[];
  }[];
}

/** CRC-32C, bit by bit. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

export async function encodeBatch(batch: RecordBatch): Promise<Buffer> {
  const { records, codec = 0, producerId = -1n, firstTimestamp } = batch;
  const plain = Buffer.concat(records.map(record));
  const checked = Buffer.concat([
    int16(codec | (batch.transactional === true ? 16 : 0) | (batch.attributes ?? 0)),
    int32(batch.lastOffsetDelta ?? records.length - 1),
    int64(firstTimestamp),
    int64(batch.maxTimestamp ?? firstTimestamp),
    int64(producerId),
    int16(batch.producerEpoch ?? 0),
    int32(batch.firstSequence ?? 0),
    int32(batch.count ?? records.length),
    batch.compress === undefined ? plain : await batch.compress(plain),
  ]);
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32c(checked));
  const leaderEpochAndMagic = Buffer.from([0, 0, 0, 0, 2]);
  const behindLength = Buffer.concat([leaderEpochAndMagic, crc, checked]);
  return Buffer.concat([int64(batch.firstOffset ?? 0n), sized(behindLength)]);
}

export async function encodeProduceRequest(request: ProduceRequest): Promise<Buffer> {
  const parts = [
    Buffer.concat([int16(0), int16(request.version), int32(request.correlationId)]),
    string(request.clientId),
    string(request.transactionalId),
    Buffer.concat([int16(request.acks), int32(request.timeoutMs), int32(request.topics.length)]),
  ];
  for (const { topic, partitions } of request.topics) {
    parts.push(string(topic), int32(partitions.length));
    for (const { partition, batch } of partitions) {
      parts.push(int32(partition), sized(await encodeBatch(batch)));
    }
  }
  return sized(Buffer.concat(parts));
}

function record({ offsetDelta, timestampDelta, key, value, headers = [] }: BatchRecord): Buffer {
  const body = Buffer.concat([
    Buffer.from([0]),
    varint(timestampDelta),
    varint(BigInt(offsetDelta)),
    varintBytes(key ?? null),
    varintBytes(value ?? null),
    varint(BigInt(headers.length)),
    ...headers.flatMap(([name, headerValue]) => [varintBytes(name), varintBytes(headerValue)]),
  ]);
  return varintBytes(body);
}

function varintBytes(bytes: Bytes): Buffer {
  if (bytes === null) return varint(-1n);
  const buffer = Buffer.from(bytes as string);
  return Buffer.concat([varint(BigInt(buffer.length)), buffer]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

function string(value: string | null): Buffer {
  if (value === null) return int16(-1);
  const bytes = Buffer.from(value);
  return Buffer.concat([int16(bytes.length), bytes]);
}

function sized(bytes: Buffer): Buffer {
  return Buffer.concat([int32(bytes.length), bytes]);
}

export function int16(value: number): Buffer {
  const buffer = Buffer.alloc(2);
  buffer.writeInt16BE(value);
  return buffer;
}

export function int32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeInt32BE(value);
  return buffer;
}

export function int64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigInt64BE(value);
  return buffer;
}
