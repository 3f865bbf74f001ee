/** What the topology has published of the raw records of one partition: the output topics, merged by raw offset. */
import type { LogScan } from '../kafka/scan.ts';
import type { LogRecord } from '../kafka/record-batch.ts';
import { DecodeError, schemaIdOf, UnknownSchemaId } from '../schemas/codec.ts';
import { headerText } from '../schemas/raw-record.ts';
import { errorHeader } from '../streams/index.ts';
import { firstOf } from '../topology/history.ts';
import type { Deployment, RawPartition } from './deployment.ts';

/** A record of an output topic. */
export interface Published {
  readonly topic: string;
  readonly partition: number;
  /** Of the output. */
  readonly offset: bigint;
  readonly record: LogRecord;
  readonly rawOffset: bigint;
  /** The generation that published it: 0 unless its headers name another. */
  readonly generation: number;
  /** The header `correction`, for an output that corrects what an earlier generation published. */
  readonly correction: string | undefined;
}

/** Outputs that of() does not return. */
export type Aside =
  /** Its raw offset is lower than that of an earlier output in its topic: a duplicate, or out of order. */
  | { readonly why: 'out_of_order'; readonly published: Published }
  /** Of a raw record between two that were asked for, so the raw topic does not have it. */
  | { readonly why: 'not_asked'; readonly published: Published }
  /** Nothing that the topology writes. */
  | { readonly why: 'unreadable'; readonly record: LogRecord };

/** Where an output topic begins. */
export interface Beginning {
  readonly topic: string;
  /** Whether records have been deleted from its beginning. */
  readonly isCut: boolean;
  /** The timestamp of the first record that it still has, epoch ms; undefined when there is none. */
  readonly firstTimestamp: number | undefined;
}

/** How far a raw record's timestamp may lie from those of the records that were processed around it. */
const marginMs = 3_600_000;
const removed = 'removed';

/**
 * In each output topic, the outputs of one raw partition are in the order of raw offsets, so that the merge holds only
 * the next one of each topic. It skips those of other raw partitions. Corrections, which a later generation publishes
 * after what it corrects, are in this order among themselves, except for removals, which are held in memory.
 */
export class PublishedOutputs {
  /** Of the output topics, in the order of deployment.outputTopics. */
  readonly beginnings: readonly Beginning[];
  readonly #lanes: readonly Lane[];
  readonly #removals: ReadonlyMap<bigint, readonly Published[]>;
  readonly #onAside: (aside: Aside) => void;
  #asked: bigint | undefined;

  private constructor(parts: {
    lanes: readonly Lane[];
    removals: ReadonlyMap<bigint, readonly Published[]>;
    beginnings: readonly Beginning[];
    onAside: (aside: Aside) => void;
  }) {
    this.#lanes = parts.lanes;
    this.#removals = parts.removals;
    this.#onAside = parts.onAside;
    this.beginnings = parts.beginnings;
  }

  /**
   * Begins to read the output topics up to their present ends. Call deployment.committed() first: then all outputs of raw
   * records below those offsets are among what is read.
   * @param options.onAside - called with outputs that of() does not return. Default: none.
   * @throws LogMovedError, or what brokers and registry refuse; of() and finish() as well.
   */
  static async open(
    deployment: Deployment,
    raw: RawPartition,
    { onAside = () => undefined }: { readonly onAside?: (aside: Aside) => void } = {},
  ): Promise<PublishedOutputs> {
    const { outputTopics, scanner } = deployment;
    const ranges = await Promise.all(outputTopics.map((topic) => deployment.range(topic, raw.partition)));
    const firsts = await Promise.all(
      ranges.map(async (range): Promise<Beginning> => {
        const first = range.offset === 0n ? undefined : await firstOf(deployment, range);
        return { topic: range.topic, isCut: range.offset > 0n, firstTimestamp: first?.timestamp };
      }),
    );
    const source = { deployment, raw, topicBytes: Buffer.from(raw.topic) };
    const corrections = await correctionsIn(source, ranges);
    const lanes = ranges.map(
      (range) => new Lane(source, scanner.scan(range), onAside, ({ correction }) => correction === undefined),
    );
    for (const { topic, generation, first, last } of corrections.runs) {
      const range = { topic, partition: raw.partition, offset: first, end: last + 1n };
      const isOfRun = (one: Published): boolean =>
        one.correction !== undefined && one.correction !== removed && one.generation === generation;
      lanes.push(new Lane(source, scanner.scan(range), onAside, isOfRun));
    }
    const { removals } = corrections;
    return new PublishedOutputs({ lanes, removals, beginnings: firsts, onAside });
  }

  /**
   * What was published of a raw record: events, a dead letter, or both; of every generation. Ask in ascending order.
   */
  async of(rawOffset: bigint): Promise<readonly Published[]> {
    let found: Published[] | undefined;
    for (const lane of this.#lanes) {
      // Most records are answered without waiting for any fetch.
      if (!lane.isAhead) await lane.advance();
      for (let head = lane.head; head !== undefined && head.rawOffset <= rawOffset; head = lane.head) {
        if (head.rawOffset === rawOffset) (found ??= []).push(head);
        else this.#passOver(head);
        lane.take();
        if (!lane.isAhead) await lane.advance();
      }
    }
    this.#asked = rawOffset;
    const removals = this.#removals.get(rawOffset);
    if (removals !== undefined) (found ??= []).push(...removals);
    return found ?? none;
  }

  /**
   * Reads the output topics to their ends, for asides that come after all other outputs.
   * @param end - outputs of raw records from here on do not matter: the records were not committed when reading began.
   */
  async finish(end: bigint): Promise<void> {
    for (const lane of this.#lanes)
      for (;;) {
        if (!lane.isAhead) await lane.advance();
        const { head } = lane;
        if (head === undefined) break;
        if (head.rawOffset < end) this.#passOver(head);
        lane.take();
      }
  }

  /**
   * Whether retention may have deleted what was published of a raw record of this timestamp, epoch ms: some output topic
   * has lost its beginning, and the records that it still has are not certainly older.
   */
  mayBeDeleted(rawTimestamp: number): boolean {
    return rawTimestamp <= this.completeFromMs;
  }

  /** Raw records later than this, epoch ms, still have all of their outputs; -Infinity when nothing has been deleted. */
  get completeFromMs(): number {
    return Math.max(
      ...this.beginnings.map(({ isCut, firstTimestamp }) =>
        isCut ? (firstTimestamp ?? Infinity) + marginMs : -Infinity,
      ),
    );
  }

  /** Ends reading before the end. */
  close(): void {
    for (const lane of this.#lanes) lane.close();
  }

  #passOver(published: Published): void {
    // Before the first question come the outputs of raw records that nobody asks for.
    if (this.#asked !== undefined && published.rawOffset > this.#asked)
      this.#onAside({ why: 'not_asked', published });
  }
}

const none: readonly Published[] = [];

/** The deployment, and the raw partition whose outputs are wanted. */
interface Source {
  readonly deployment: Deployment;
  readonly raw: RawPartition;
  readonly topicBytes: Buffer;
}

/** The outputs of one raw partition in one output topic: those of one generation's corrections, or all others. */
class Lane {
  readonly #source: Source;
  readonly #scan: LogScan;
  readonly #onAside: (aside: Aside) => void;
  readonly #isWanted: (published: Published) => boolean;
  #records: readonly LogRecord[] = [];
  #at = 0;
  #isEnded = false;
  /** The highest raw offset so far. */
  #passed = -1n;
  #head: Published | undefined;

  constructor(
    source: Source,
    scan: LogScan,
    onAside: (aside: Aside) => void,
    isWanted: (published: Published) => boolean,
  ) {
    this.#source = source;
    this.#scan = scan;
    this.#onAside = onAside;
    this.#isWanted = isWanted;
  }

  /** The next output; undefined after the last, and until advance(). */
  get head(): Published | undefined {
    return this.#head;
  }

  /** Whether `head` is known. */
  get isAhead(): boolean {
    return this.#head !== undefined || this.#isEnded;
  }

  /** Passes over the head. */
  take(): void {
    this.#head = undefined;
  }

  /** Reads on to the next output. */
  async advance(): Promise<void> {
    const { deployment } = this.#source;
    while (!this.isAhead) {
      const record = this.#records[this.#at];
      if (record === undefined) {
        const records = await this.#scan.next();
        this.#isEnded = records === undefined;
        this.#records = records ?? [];
        this.#at = 0;
        continue;
      }
      const published = publishedOf(this.#source, record);
      if (typeof published === 'number') {
        await deployment.rawRefs.prepare(published);
        continue;
      }
      this.#at += 1;
      if (published === 'unreadable') this.#onAside({ why: 'unreadable', record });
      else if (published !== 'not ours' && this.#isWanted(published)) this.#arrive(published);
    }
  }

  close(): void {
    this.#scan.close();
  }

  #arrive(published: Published): void {
    if (published.rawOffset < this.#passed) {
      this.#onAside({ why: 'out_of_order', published });
      return;
    }
    this.#passed = published.rawOffset;
    this.#head = published;
  }
}

/** A record of an output topic with its raw offset; a number is the id of a schema that has to be loaded first. */
function publishedOf(
  { deployment, raw, topicBytes }: Source,
  record: LogRecord,
): Published | 'not ours' | 'unreadable' | number {
  const { topic, partition, offset, headers, value } = record;
  if (record.fault !== undefined) return 'unreadable';
  const isDeadLetter = topic === deployment.topics.deadLetters;
  // Most are of other devices. An event names its raw topic, whose name is looked for faster than headers are read.
  if (!isDeadLetter && value?.includes(topicBytes) === false) return 'not ours';
  const ref = isDeadLetter ? letterRef(record) : eventRef(deployment, value);
  if (ref === undefined) return 'unreadable';
  if (typeof ref === 'number') return ref;
  if (ref.topic !== raw.topic || ref.partition !== raw.partition) return 'not ours';
  const generation = Number(headerText(headers, 'generation') ?? 0);
  const correction = headerText(headers, 'correction');
  return { topic, partition, offset, record, rawOffset: ref.offset, generation, correction };
}

interface RawRef {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

function eventRef({ rawRefs }: Deployment, value: Buffer | null): RawRef | number | undefined {
  if (value === null) return undefined;
  try {
    const { topic, partition, offset } = rawRefs.read(value);
    return { topic, partition, offset: BigInt(offset) };
  } catch (error) {
    if (error instanceof UnknownSchemaId) return schemaIdOf(value);
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

function letterRef({ headers }: LogRecord): RawRef | undefined {
  const topic = headerText(headers, errorHeader.topic);
  const partition = headerText(headers, errorHeader.partition) ?? '';
  const offset = headerText(headers, errorHeader.offset) ?? '';
  if (topic === undefined || !/^\d+$/.test(partition) || !/^\d+$/.test(offset)) return undefined;
  return { topic, partition: Number(partition), offset: BigInt(offset) };
}

/** The corrections of one generation in one output topic lie between these offsets. */
interface Run {
  readonly topic: string;
  readonly generation: number;
  readonly first: bigint;
  last: bigint;
}

/** Finds corrections, which come long after what they correct. Before the first promotion there are none. */
async function correctionsIn(
  source: Source,
  ranges: readonly { topic: string; partition: number; offset: bigint; end: bigint }[],
): Promise<{ runs: readonly Run[]; removals: ReadonlyMap<bigint, readonly Published[]> }> {
  const { generation, scanner } = source.deployment;
  const runs = new Map<string, Run>();
  const removals = new Map<bigint, Published[]>();
  if (generation === 0) return { runs: [], removals };
  await Promise.all(
    ranges.map(async (range) => {
      const scan = scanner.scan(range);
      for (let records = await scan.next(); records !== undefined; records = await scan.next())
        for (const record of records) {
          if (headerText(record.headers, 'correction') === undefined) continue;
          let published = publishedOf(source, record);
          if (typeof published === 'number') {
            await source.deployment.rawRefs.prepare(published);
            published = publishedOf(source, record);
          }
          if (typeof published !== 'object' || published.correction === undefined) continue;
          const { topic, offset, generation, correction, rawOffset } = published;
          if (correction === removed) {
            // Otherwise the record keeps its whole batch in memory.
            const own = { ...published, record: copyOf(record) };
            removals.set(rawOffset, [...(removals.get(rawOffset) ?? []), own]);
            continue;
          }
          const name = `${topic} ${generation}`;
          const run = runs.get(name);
          if (run === undefined) runs.set(name, { topic, generation, first: offset, last: offset });
          else run.last = offset;
        }
    }),
  );
  return { runs: [...runs.values()], removals };
}

function copyOf({ topic, partition, offset, timestamp, key, value, headers }: LogRecord): LogRecord {
  const copy = (bytes: Buffer | null): Buffer | null => bytes && Buffer.from(bytes);
  const copied = Object.entries(headers).map(([name, header]) => [
    name,
    Buffer.isBuffer(header) ? copy(header) : header,
  ]);
  return {
    topic,
    partition,
    offset,
    timestamp,
    key: copy(key),
    value: copy(value),
    headers: Object.fromEntries(copied) as LogRecord['headers'],
  };
}
