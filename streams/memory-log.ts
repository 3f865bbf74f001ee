import type { TransactionalLog } from './commit.ts';
import type { Fetched, FetchPosition } from '../kafka/fetch.ts';
import type { TopicSpec } from '../kafka/topics.ts';
import { oneOf } from './random.ts';
import {
  partitionName,
  recordBytes,
  unwritable,
  type Headers,
  type InputRecord,
  type OutputHeaders,
  type OutputRecord,
  type PartitionOffset,
} from './record.ts';
import { RefusedError, type RefusedRecord } from './refusals.ts';
import { defaultMessageBytes } from './topic-limits.ts';

/** Kafka's default of message.timestamp.after.max.ms. */
const defaultAheadMs = 3_600_000;
/** Bytes of keys and values in one answer to a fetch; the first record always comes whole. */
const answerBytes = 64 * 1024;

/**
 * Topics in memory with one transactional producer: the test driver's replacement of a broker. It refuses what a broker
 * refuses: records that are larger than their topic takes, or too far ahead, or have no key in a compacted topic, and
 * those that no client can write.
 */
export class MemoryLog implements TransactionalLog {
  /** Committed offsets by partition name. */
  readonly offsets = new Map<string, bigint>();
  readonly #committed = new Map<string, OutputRecord<Headers>[]>();
  /** The settings of topics that differ from Kafka's defaults, by topic. */
  readonly #configs: ReadonlyMap<string, TopicSpec['config']>;
  readonly #now: () => number;
  /** The records of the last committed transaction, in the order in which they were sent. */
  lastCommitted: readonly OutputRecord<Headers>[] = [];
  #records: OutputRecord<Headers>[] = [];
  #pending: readonly PartitionOffset[] = [];

  constructor(topics: readonly TopicSpec[], now: () => number) {
    this.#configs = new Map(topics.map(({ name, config }) => [name, config]));
    this.#now = now;
  }

  begin(): Promise<void> {
    this.settle();
    return Promise.resolve();
  }

  send(records: readonly OutputRecord[]): Promise<void> {
    const refused = records.flatMap((record): RefusedRecord[] => {
      const reason = refusalOf(record, this.#configs.get(record.topic) ?? {}, this.#now());
      return reason === undefined ? [] : [{ record, reason }];
    });
    const [first] = refused;
    if (first !== undefined) return Promise.reject(new RefusedError(first.reason, refused));
    // No spread: a test may send more records than a call takes arguments.
    for (const record of records) this.#records.push(written(record));
    return Promise.resolve();
  }

  sendOffsets(offsets: readonly PartitionOffset[]): Promise<void> {
    this.#pending = offsets;
    return Promise.resolve();
  }

  commit(): Promise<void> {
    for (const record of this.#records) this.append(record);
    this.lastCommitted = this.#records;
    for (const { topic, partition, offset } of this.#pending)
      this.offsets.set(partitionName({ topic, partition }), offset);
    this.settle();
    return Promise.resolve();
  }

  /** Aborts the open transaction, as a new producer with the same id does. */
  settle(): void {
    this.#records = [];
    this.#pending = [];
  }

  /** Appends a record, as another producer does, without a transaction; answers its offset. */
  append(record: OutputRecord<Headers>): bigint {
    const name = partitionName(record);
    const log = this.#committed.get(name) ?? [];
    this.#committed.set(name, log);
    return BigInt(log.push(record) - 1);
  }

  /**
   * Answers a fetch with records of one wanted partition; undefined when there are none. `random` chooses which, and how
   * many records; by default it is the first, with as many as an answer holds.
   */
  fetch(
    wanted: readonly FetchPosition[],
    limit: number,
    random: () => number = () => 0,
  ): Fetched | undefined {
    const isBehind = ({ topic, partition, offset }: FetchPosition): boolean =>
      offset < this.read(topic, partition).length;
    const [first, ...others] = wanted.filter(isBehind);
    if (first === undefined) return undefined;
    const { topic, partition, offset } = oneOf(random, [first, ...others]);
    const most = Math.min(limit, oneOf(random, [Infinity, 1, 2]));
    const log = this.read(topic, partition);
    const records: InputRecord[] = [];
    let bytes = 0;
    for (const record of log.slice(Number(offset), Number(offset) + most)) {
      bytes += (record.key?.length ?? 0) + (record.value?.length ?? 0);
      if (records.length > 0 && bytes > answerBytes) break;
      records.push({ ...record, offset: offset + BigInt(records.length) });
    }
    const [nextOffset, end] = [offset + BigInt(records.length), BigInt(log.length)];
    const bounds = { fetchOffset: offset, nextOffset, highWatermark: end, lastStableOffset: end };
    return { topic, partition, records, ...bounds };
  }

  /** The committed records of a partition, in order. */
  read(topic: string, partition: number): readonly OutputRecord<Headers>[] {
    return this.#committed.get(partitionName({ topic, partition })) ?? [];
  }

  /** The bytes of a batch that a topic takes. */
  limitOf(topic: string): number {
    return limitIn(this.#configs.get(topic));
  }
}

/**
 * Why a broker refuses a record, in the order in which client and broker look; undefined when it takes it.
 * @param config - the settings of its topic.
 */
export function refusalOf(
  record: OutputRecord,
  config: TopicSpec['config'],
  nowMs: number,
): string | undefined {
  const reason = unwritable(record);
  if (reason !== undefined) return reason;
  const limit = limitIn(config);
  // The exact size is asked for only where it decides.
  if (recordBytes(record) > limit && encodedBatchBytes(record) > limit) return 'MESSAGE_TOO_LARGE';
  const aheadMs = Number(config['message.timestamp.after.max.ms'] ?? defaultAheadMs);
  if (record.timestamp - nowMs > aheadMs) return 'INVALID_TIMESTAMP';
  const isCompacted = config['cleanup.policy']?.split(',').includes('compact') ?? false;
  return isCompacted && record.key === null ? 'INVALID_RECORD' : undefined;
}

/** The bytes of a batch that a topic with these settings takes. */
export function limitIn(config: TopicSpec['config'] | undefined): number {
  return Number(config?.['max.message.bytes'] ?? defaultMessageBytes);
}

/** The bytes of a batch that holds only this record, without compression: what a broker compares with its limit. */
export function encodedBatchBytes({ key, value, headers }: OutputRecord): number {
  const list = headerList(headers);
  // Attributes, the distances of timestamp and offset, key, value and headers.
  let body = 3 + sizedBytes(key) + sizedBytes(value) + varintBytes(list.length);
  for (const [name, header] of list) body += sizedBytes(name) + sizedBytes(header);
  // The header of a batch has 61 bytes.
  return 61 + varintBytes(body) + body;
}

function headerList(headers: OutputHeaders): [string, string | Buffer | null][] {
  return Object.entries(headers).flatMap(([name, value]) => {
    const values = Array.isArray(value) ? (value as readonly (Buffer | null)[]) : [value];
    return values.map((one): [string, string | Buffer | null] => [name, one as string | Buffer | null]);
  });
}

function sizedBytes(bytes: string | Buffer | null): number {
  // Null has the length -1, which takes one byte.
  const length = bytes === null ? 0 : Buffer.byteLength(bytes);
  return varintBytes(length) + length;
}

/** A varint has seven bits a byte, and one bit for the sign. */
function varintBytes(value: number): number {
  let size = 1;
  for (let rest = value * 2; rest > 127; rest = Math.floor(rest / 128)) size += 1;
  return size;
}

/** The record with its headers as bytes, as a log holds them. */
function written(record: OutputRecord): OutputRecord<Headers> {
  const headers = Object.entries(record.headers).map(([name, value]) => [
    name,
    typeof value === 'string' ? Buffer.from(value, 'utf8') : value,
  ]);
  return { ...record, headers: Object.fromEntries(headers) as Headers };
}
