/** Appends dead letters to their raw topics again: first what the present topology makes of them, then the append. */
import { kafkaClient, kafkaErrorType, compressionOf, type KafkaLog, type Producer } from '../kafka/client.ts';
import type { Headers, LogRecord } from '../kafka/record-batch.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import { headerText, rawHeader } from '../schemas/raw-record.ts';
import { retentionMs } from '../schemas/topics.ts';
import { errorHeader, type OutputRecord, type Recomputation, type Recomputed } from '../streams/index.ts';
import { dayMs } from '../vendors/instant.ts';
import {
  lettersOf,
  readLetter,
  type DeadLetter,
  type FoundLetter,
  type LetterFilter,
} from './dead-letters.ts';
import type { Deployment } from './deployment.ts';
import { RefusedCommand } from './exit.ts';
import { positionName, readRecord, recordsOf, type Position, type Watch } from './reading.ts';
import { restoreState } from './state.ts';

/** What a command retries. */
export interface RetryOptions {
  /** These letters; if there are none, those of `filter`. */
  readonly positions: readonly Position[];
  readonly filter: LetterFilter;
  /** At most this many of the letters that were not appended again before. */
  readonly limit: number;
  /** Also letters that are older than 7 days. */
  readonly older: boolean;
  /** Also letters that were appended again before. */
  readonly again: boolean;
  /** Appends; otherwise only returns what would come of it. */
  readonly commit: boolean;
  readonly nowMs: number;
  readonly log: KafkaLog;
}

/** What becomes of a record. */
export interface Outcome {
  readonly events: readonly {
    readonly topic: string;
    readonly priority: string;
    readonly eventId: string;
    /** Types of its triggers. */
    readonly triggers: readonly string[];
  }[];
  readonly deadLetters: readonly {
    readonly operator: string;
    readonly reason: string;
    readonly message: string;
  }[];
  readonly dropped: Recomputed['dropped'];
}

/** What was done with a letter. */
export interface Retried {
  readonly letter: DeadLetter;
  readonly did: 'previewed' | 'appended' | 'already_retried' | 'not_retriable' | 'refused';
  /** Of `already_retried`: the place of its last copy. Of the last two: why. */
  readonly why?: string;
  /** What the present topology and state make of the copy. */
  readonly outcome?: Outcome;
  readonly notes: readonly string[];
}

/** What a retry leaves out before it looks at letters. */
export interface LeftOut {
  /** Letters that are older than 7 days. */
  readonly tooOld: number;
  /** Letters beyond the limit. */
  readonly beyondLimit: number;
}

/** Letters older than this are retried only on request: a copy stays in the raw topic as long as any other record. */
export const maxAgeMs = 7 * dayMs;
/** Bytes of values in one send. */
const sendBytes = 1024 * 1024;
const sendRecords = 500;

/**
 * Retries letters, one partition after the other, each letter of a raw partition in its order.
 * @param onRetried - called once for each selected letter; with `commit` after the broker has acknowledged its copy.
 * @throws the reason of the signal when it was aborted: what was reported as appended is in the log, nothing else is.
 * @throws RefusedCommand when a place names no letter, or one that is too old.
 */
export async function retryLetters(
  deployment: Deployment,
  options: RetryOptions,
  watch: Watch,
  onRetried: (retried: Retried) => void,
): Promise<LeftOut> {
  const { selected, tooOld } = await select(deployment, options, watch);
  const raws = new Appender(deployment, options);
  let left = options.limit;
  let beyondLimit = 0;
  try {
    for (const [partition, all] of selected) {
      const due = await dueOf(deployment, all, { again: options.again, watch, onRetried });
      const letters = due.slice(0, left);
      left -= letters.length;
      beyondLimit += due.length - letters.length;
      if (letters.length > 0)
        await retryPartition(deployment, { partition, letters, options, raws }, watch, onRetried);
    }
  } finally {
    await raws.close();
  }
  return { tooOld, beyondLimit };
}

type Selected = Map<number, DeadLetter[]>;

async function select(
  deployment: Deployment,
  options: RetryOptions,
  watch: Watch,
): Promise<Pick<LeftOut, 'tooOld'> & { readonly selected: Selected }> {
  const { positions, filter, older, nowMs } = options;
  const isOld = ({ receivedAt }: DeadLetter): boolean => !older && nowMs - receivedAt > maxAgeMs;
  const selected: Selected = new Map();
  let tooOld = 0;
  const take = (letter: DeadLetter): void => {
    const { partition } = letter.position;
    const some = selected.get(partition);
    if (isOld(letter)) tooOld += 1;
    else if (some === undefined) selected.set(partition, [letter]);
    else some.push(letter);
  };
  if (positions.length > 0) {
    for (const letter of await named(deployment, positions, watch)) {
      if (isOld(letter))
        throw new RefusedCommand(
          `${positionName(letter.position)} is older than ${maxAgeMs / dayMs} days: its copy would stay in ${letter.raw.topic} for another ${retentionMs / dayMs} days, or be deleted at once with a segment as old as it is; --older retries it all the same`,
        );
      take(letter);
    }
  } else {
    for (let partition = 0; partition < deployment.partitions; partition += 1)
      for await (const { letter } of lettersOf(deployment, partition, filter, watch)) take(letter);
  }
  return { selected, tooOld };
}

/** The letters at some places, each once, in the order of the topic. */
async function named(
  deployment: Deployment,
  positions: readonly Position[],
  watch: Watch,
): Promise<DeadLetter[]> {
  const letters = new Map<string, DeadLetter>();
  for (const position of positions) {
    const record = await readRecord(deployment, position, watch);
    const letter = record && readLetter(record, deployment.topics);
    if (letter === undefined)
      throw new RefusedCommand(`there is no dead letter at ${positionName(position)}, or no longer`);
    letters.set(positionName(position), letter);
  }
  return [...letters.values()].sort(({ position: a }, { position: b }) => (a.offset < b.offset ? -1 : 1));
}

/** The letters that were not appended again before, or, with `again`, all; reports the others. */
async function dueOf(
  deployment: Deployment,
  letters: readonly DeadLetter[],
  {
    again,
    watch,
    onRetried,
  }: { readonly again: boolean; readonly watch: Watch; readonly onRetried: (retried: Retried) => void },
): Promise<readonly DeadLetter[]> {
  if (again) return letters;
  const copies = await copiesOf(deployment, letters, watch);
  return letters.filter((letter) => {
    const why = copies.get(positionName(letter.position));
    if (why !== undefined) onRetried({ letter, did: 'already_retried', why, notes: [] });
    return why === undefined;
  });
}

interface PartitionRetry {
  readonly partition: number;
  readonly letters: readonly DeadLetter[];
  readonly options: RetryOptions;
  readonly raws: Appender;
}

async function retryPartition(
  deployment: Deployment,
  { partition, letters, options, raws }: PartitionRetry,
  watch: Watch,
  onRetried: (retried: Retried) => void,
): Promise<void> {
  const present = await presentState(deployment, partition, letters, watch);
  // By raw topic: the broker takes or refuses the records of one partition in one send as a whole.
  const sending = new Map<
    string,
    { readonly copies: RawCopy[]; readonly retried: Retried[]; bytes: number }
  >();
  const send = async (topic: string): Promise<void> => {
    const { copies: sent = [], retried: all = [] } = sending.get(topic) ?? {};
    sending.delete(topic);
    const refusals = await raws.append(sent);
    for (const [at, retried] of all.entries()) {
      const why = refusals.get(at);
      onRetried(why === undefined ? { ...retried, did: 'appended' } : { ...retried, did: 'refused', why });
    }
    watch.signal.throwIfAborted();
  };
  for await (const found of selectedOf(deployment, letters, watch)) {
    const { letter } = found;
    const original = await originalOf(deployment, found, watch);
    if (typeof original === 'string') {
      onRetried({ letter, did: 'not_retriable', why: original, notes: [] });
      continue;
    }
    const copy = retryCopy(original, letter, options.nowMs);
    const notes = [...present.notes(letter), ...notesOn(copy, options.nowMs)];
    const retried: Retried = { letter, did: 'previewed', outcome: present.process(copy), notes };
    if (!options.commit) {
      onRetried(retried);
      continue;
    }
    const batch = sending.get(copy.topic) ?? { copies: [], retried: [], bytes: 0 };
    sending.set(copy.topic, batch);
    batch.copies.push(copy);
    batch.retried.push(retried);
    batch.bytes += copy.value?.length ?? 0;
    if (batch.bytes >= sendBytes || batch.copies.length >= sendRecords) await send(copy.topic);
  }
  for (const topic of [...sending.keys()]) await send(topic);
}

/** The letters of a partition with their records, read again. */
async function* selectedOf(
  deployment: Deployment,
  letters: readonly DeadLetter[],
  watch: Watch,
): AsyncGenerator<FoundLetter> {
  const [first, last] = [letters[0]?.position, letters.at(-1)?.position];
  if (first === undefined || last === undefined) return;
  const byOffset = new Map(letters.map((letter) => [letter.position.offset, letter]));
  const range = { ...first, end: last.offset + 1n };
  for await (const records of recordsOf(deployment.scanner, range, watch))
    for (const record of records) {
      const letter = byOffset.get(record.offset);
      if (letter !== undefined) yield { letter, record };
    }
}

/**
 * Finds the copies of letters in their raw partitions.
 * @returns the place of the last copy, by the letter's place.
 */
async function copiesOf(
  deployment: Deployment,
  letters: readonly DeadLetter[],
  watch: Watch,
): Promise<ReadonlyMap<string, string>> {
  const names = new Set(letters.map(({ position }) => positionName(position)));
  const firsts = new Map<string, Position>();
  for (const { raw } of letters) {
    const first = firsts.get(partitionName(raw));
    if (first === undefined || raw.offset < first.offset) firsts.set(partitionName(raw), raw);
  }
  const copies = new Map<string, string>();
  for (const { topic, partition, offset } of firsts.values()) {
    const range = await deployment.range(topic, partition);
    // A copy comes after the record that it repeats.
    const start = offset + 1n > range.offset ? offset + 1n : range.offset;
    for await (const records of recordsOf(deployment.scanner, { ...range, offset: start }, watch))
      for (const record of records) {
        const of = headerText(record.headers, rawHeader.retryOf);
        if (of !== undefined && names.has(of)) copies.set(of, positionName(record));
      }
  }
  return copies;
}

/** A record to append to a raw topic. */
export interface RawCopy {
  readonly topic: string;
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: Headers;
  /** Epoch ms. */
  readonly timestamp: number;
}

/** The record that a letter is about, or why it is unavailable. */
async function originalOf(
  deployment: Deployment,
  { letter, record }: FoundLetter,
  watch: Watch,
): Promise<LogRecord | string> {
  const isBatch = batchFaults.has(letter.reason);
  // The smallest dead letter has neither value nor headers. A record without either is read again just as well.
  const isSmallest =
    record.value === null && Object.keys(record.headers).every((name) => name.startsWith(errorHeaders));
  if (!isBatch && !isSmallest) return { ...asWritten(record), ...letter.raw };
  const raw = await readRecord(deployment, letter.raw, watch);
  const place = positionName(letter.raw);
  const what = isBatch
    ? 'its value is a whole batch of the raw topic'
    : 'its value was left out, because the dead-letter topic had refused the whole letter';
  if (raw === undefined) return `${what}, and ${place} does not exist any more`;
  if (raw.fault !== undefined) return `${what}, and ${place} cannot be decoded either: ${raw.fault.code}`;
  if (isBatch && !/offsets (\d+) to \1 /.test(letter.message))
    return `${what}, whose records this build can read: recompute them in a new generation`;
  return raw;
}

/** The reasons of batches that cannot be decoded: see kafka/record.ts. */
const batchFaults: ReadonlySet<string> = new Set([
  'UNKNOWN_CODEC',
  'CORRUPT_BATCH',
  'BATCH_TOO_LARGE',
  'UNSUPPORTED_FORMAT',
  'CUT_BATCH',
]);

const errorHeaders = errorHeader.topic.slice(0, errorHeader.topic.lastIndexOf('.') + 1);

/** The record of a letter with the headers that it had, retry headers among them. */
function asWritten(record: LogRecord): LogRecord {
  const { topic, partition, offset, timestamp, key, value } = record;
  // A promotion says in headers of its own that it has removed the events of the record.
  const isPromoted = record.headers['correction'] !== undefined;
  const added = (name: string): boolean =>
    name.startsWith(errorHeaders) || (isPromoted && ['correction', 'generation'].includes(name));
  const headers = Object.entries(record.headers).filter(([name]) => !added(name));
  return { topic, partition, offset, timestamp, key, value, headers: Object.fromEntries(headers) };
}

/** The copy of a record that a retry appends: the same record, plus headers that mark it as a copy. */
function retryCopy(original: LogRecord, { position, raw }: DeadLetter, nowMs: number): RawCopy {
  const { topic, partition } = raw;
  const { key, value, timestamp } = original;
  const headers = {
    ...original.headers,
    [rawHeader.retryOf]: Buffer.from(positionName(position)),
    [rawHeader.retriedAt]: Buffer.from(String(nowMs)),
  };
  return { topic, partition, key, value, headers, timestamp: Math.max(0, timestamp) };
}

function notesOn({ topic, timestamp }: RawCopy, nowMs: number): string[] {
  if (nowMs - timestamp <= retentionMs) return [];
  return [
    `its timestamp is older than ${topic} keeps records (${retentionMs / dayMs} days): the broker takes it, and may delete it at once, with its segment`,
  ];
}

/** The state that the copies will meet, which takes in each of them. */
interface PresentState {
  process(copy: RawCopy): Outcome;
  /** Why the outcome may differ from what will really come of it. */
  notes(letter: DeadLetter): readonly string[];
}

/** The state is read at most this often: records of the letters' users that are committed meanwhile make it uncertain. */
const maxReadings = 3;

async function presentState(
  deployment: Deployment,
  partition: number,
  letters: readonly DeadLetter[],
  watch: Watch,
): Promise<PresentState> {
  const topics = [...new Set(letters.map(({ raw }) => raw.topic))];
  const keys = new Set(letters.map(({ raw, key }) => ownerName(raw.topic, key)));
  for (let readings = 1; ; readings += 1) {
    const before = await deployment.committed();
    const recomputation = deployment.recomputation(partition);
    await restoreState(deployment, { recomputation, partition }, watch);
    const after = await deployment.committed();
    const ends = new Map<string, bigint>();
    const uncertain = new Set<string>();
    for (const topic of topics) {
      const range = await deployment.range(topic, partition);
      const name = partitionName(range);
      ends.set(topic, range.end);
      const committed = after.get(name) ?? range.offset;
      const start = before.get(name) ?? range.offset;
      const unread = { ...range, offset: start > range.offset ? start : range.offset };
      for await (const records of recordsOf(deployment.scanner, unread, watch))
        for (const record of records) {
          const owner = ownerName(topic, record.key?.toString() ?? null);
          // Uncommitted records are processed before the copies. Records of other users do not matter.
          if (!keys.has(owner)) continue;
          if (record.offset < committed) uncertain.add(owner);
          else recomputation.process(record);
        }
    }
    if (uncertain.size > 0 && readings < maxReadings) continue;
    return {
      process: (copy) => {
        const offset = ends.get(copy.topic) ?? 0n;
        ends.set(copy.topic, offset + 1n);
        return outcomeOf(recomputation.process({ ...copy, offset }), deployment.topics.deadLetters);
      },
      notes: ({ raw, key }) =>
        uncertain.has(ownerName(raw.topic, key))
          ? ['records of its user were processed meanwhile: what comes of it may differ']
          : [],
    };
  }
}

function ownerName(topic: string, key: string | null): string {
  return `${topic}\0${key ?? '\0'}`;
}

/** What the outputs say about a record, without its values. */
export function outcomeOf(
  { outputs, dropped }: Pick<ReturnType<Recomputation['process']>, 'outputs' | 'dropped'>,
  deadLetterTopic: string,
): Outcome {
  const text = ({ headers }: OutputRecord, name: string): string => headerText(headers, name) ?? '';
  const isLetter = ({ topic }: OutputRecord): boolean => topic === deadLetterTopic;
  return {
    events: outputs
      .filter((output) => !isLetter(output))
      .map((output) => ({
        topic: output.topic,
        priority: text(output, 'priority'),
        eventId: text(output, 'event_id'),
        triggers: triggerTypes(text(output, 'triggers')),
      })),
    deadLetters: outputs.filter(isLetter).map((output) => ({
      operator: text(output, errorHeader.node),
      reason: text(output, errorHeader.exception),
      message: text(output, errorHeader.message),
    })),
    dropped,
  };
}

function triggerTypes(header: string): string[] {
  const { triggers } = JSON.parse(header) as { readonly triggers: readonly { readonly type: string }[] };
  return triggers.map(({ type }) => type);
}

/** Appends to raw topics, one send at a time. */
class Appender {
  readonly #deployment: Deployment;
  readonly #log: KafkaLog;
  #producer: Promise<Producer> | undefined;

  constructor(deployment: Deployment, { log }: RetryOptions) {
    this.#deployment = deployment;
    this.#log = log;
  }

  /**
   * Appends records of one raw partition in order.
   * @returns the reasons of those that the broker refuses, as Kafka names them, by their place in the list.
   * @throws Error when it does not accept any now.
   */
  async append(records: readonly RawCopy[]): Promise<ReadonlyMap<number, string>> {
    const reason = await this.#send(records);
    if (reason === undefined) return new Map();
    if (records.length === 1) return new Map([[0, reason]]);
    const refusals = new Map<number, string>();
    for (const [at, record] of records.entries()) {
      const own = await this.#send([record]);
      if (own !== undefined) refusals.set(at, own);
    }
    return refusals;
  }

  async close(): Promise<void> {
    const producer = await this.#producer?.catch(() => undefined);
    this.#producer = undefined;
    await producer?.disconnect();
  }

  /** @returns why the broker refuses one of the records, and so all of them. */
  async #send(records: readonly RawCopy[]): Promise<string | undefined> {
    try {
      const producer = await (this.#producer ??= this.#connect());
      await producer.send({
        topic: records[0]?.topic ?? '',
        acks: -1,
        compression: compressionOf(this.#deployment.connection),
        messages: records.map(({ partition, key, value, headers, timestamp }) => ({
          partition,
          key,
          value,
          headers: headers as Record<string, Buffer | Buffer[]>,
          timestamp: String(timestamp),
        })),
      });
      return undefined;
    } catch (error) {
      const reason = kafkaErrorType(error) ?? (error instanceof Error ? error.name : 'unknown');
      if (refusedForGood.has(reason)) return reason;
      throw new Error(
        `the raw topics take no records now (${reason}): run the same command again, which leaves out what was appended`,
        { cause: error },
      );
    }
  }

  async #connect(): Promise<Producer> {
    const client = kafkaClient(this.#deployment.connection, {
      clientId: 'bridge-dead-letters',
      log: this.#log,
    });
    const producer = client.producer({
      allowAutoTopicCreation: false,
      idempotent: true,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    return producer;
  }
}

/** Errors that sending the same record again does not fix. */
const refusedForGood: ReadonlySet<string> = new Set([
  'MESSAGE_TOO_LARGE',
  'RECORD_LIST_TOO_LARGE',
  'INVALID_TIMESTAMP',
  'INVALID_RECORD',
]);
