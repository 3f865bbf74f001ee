/** The whole story of one raw record, from the topics, as `bridge trace` shows it. */
import type { LogRecord } from '../kafka/record-batch.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { DecodeError, schemaIdOf } from '../schemas/codec.ts';
import { headerText, isHashKey, rawHeader, receivedAtOf } from '../schemas/raw-record.ts';
import { compareVersions } from '../schemas/version-order.ts';
import { userKey } from '../topology/packed.ts';
import { seeded } from '../topology/seed.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import { readLetter, type DeadLetter } from './dead-letters.ts';
import type { Deployment } from './deployment.ts';
import { outcomeOf, type Outcome } from './retry.ts';
import { positionName, readRecord, recordsOf, type Position, type Watch } from './reading.ts';
import { verifyStored, type Verification } from './signature.ts';
import { restoreState } from './state.ts';

/** What is known about an event of the record, or of a later version of its resource. */
export interface TracedEvent {
  readonly position: Position;
  readonly event: BiometricEvent;
  /** Which build made it. */
  readonly build: string | undefined;
  /** Set for a correction: `changed`, `added` or `removed`. */
  readonly correction: string | undefined;
}

/** The raw record itself. */
export interface TracedRecord {
  readonly receivedAt: number;
  /** The letter that it repeats, and when it was appended again, as text of epoch ms; only for a retry. */
  readonly retryOf: string | undefined;
  readonly retriedAt: string | undefined;
  readonly traceparent: string | undefined;
  /** The length of its body. */
  readonly bytes: number | null;
  readonly headers: readonly string[];
  readonly namesUser: boolean;
  /** Why it cannot be decoded; it then stands for a whole batch. */
  readonly fault: string | undefined;
  readonly signature: Verification;
}

export interface Story {
  readonly raw: Position;
  readonly vendor: VendorName;
  /** Undefined when its topic no longer has it. */
  readonly record: TracedRecord | undefined;
  /** Undefined when the group has committed no offset of its partition. */
  readonly isProcessed: boolean;
  readonly events: readonly TracedEvent[];
  readonly letters: readonly DeadLetter[];
  /** What this build makes of the record, if neither event nor letter was found; or why that is unknown. */
  readonly recomputed: Outcome | string | undefined;
  /** Where it was appended again. */
  readonly retries: readonly Position[];
  /** Newer versions of the resources of `events`, the oldest first. */
  readonly later: readonly TracedEvent[];
}

/** What a place or an event names: its raw record, and what is needed to find its outputs. */
export interface Traced {
  readonly raw: Position;
  readonly key: Buffer | null;
  readonly timestamp: number;
}

/**
 * Finds the raw record that a place is about. The place is in a raw topic, a priority topic or the dead-letter topic.
 * @returns undefined when nothing is there, or nothing that names a raw record.
 */
export async function rawOf(
  deployment: Deployment,
  position: Position,
  watch: Watch,
): Promise<Traced | undefined> {
  const { topics } = deployment;
  const record = await readRecord(deployment, position, watch);
  if (record === undefined) return undefined;
  const { key, timestamp } = record;
  if (vendorOf(deployment, position.topic) !== undefined) return { raw: position, key, timestamp };
  if (position.topic === topics.deadLetters) {
    const letter = readLetter(record, topics);
    return letter && { raw: letter.raw, key, timestamp };
  }
  const event = await decoded(deployment, record);
  if (event === undefined) return undefined;
  return { raw: { ...event.raw, offset: BigInt(event.raw.offset) }, key, timestamp };
}

/** The event with an id, by the headers of the priority topics; undefined when none has it. */
export async function findEvent(
  deployment: Deployment,
  eventId: string,
  watch: Watch & { readonly onTopic?: (records: bigint) => void },
): Promise<Traced | undefined> {
  for (const topic of Object.values(deployment.topics.priority))
    for (let partition = 0; partition < deployment.partitions; partition += 1) {
      const range = await deployment.range(topic, partition);
      watch.onTopic?.(range.end - range.offset);
      for await (const records of recordsOf(deployment.scanner, range, watch)) {
        const found = records.find(({ headers }) => headerText(headers, 'event_id') === eventId);
        if (found !== undefined) return rawOf(deployment, found, watch);
      }
    }
  return undefined;
}

/**
 * Assembles the story of a raw record.
 * @param secrets - of each vendor, for a fresh verification.
 * @throws Error when its topic is none of the deployment's raw topics.
 */
export async function storyOf(
  deployment: Deployment,
  traced: Traced,
  secrets: Readonly<Record<VendorName, readonly string[]>>,
  watch: Watch,
): Promise<Story> {
  const { raw } = traced;
  const vendor = vendorOf(deployment, raw.topic);
  if (vendor === undefined) throw new Error(`${raw.topic} is no raw topic of this deployment`);
  const record = await readRecord(deployment, raw, watch);
  const committed = (await deployment.committed()).get(partitionName(raw)) ?? 0n;
  const about = record === undefined ? traced : { raw, key: record.key, timestamp: record.timestamp };
  const { events, later } = await eventsOf(deployment, about, watch);
  const letters = await lettersAbout(deployment, raw, watch);
  const isProcessed = committed > raw.offset;
  const isUnaccounted = isProcessed && events.length === 0 && letters.length === 0;
  return {
    raw,
    vendor,
    record: record && tracedRecord(record, vendor, secrets[vendor]),
    isProcessed,
    events,
    letters,
    recomputed: isUnaccounted ? await recompute(deployment, vendor, raw, record, watch) : undefined,
    retries: await retriesOf(deployment, raw, letters, watch),
    later,
  };
}

function vendorOf({ topics }: Deployment, topic: string): VendorName | undefined {
  return vendorNames.find((name) => topics.raw[name] === topic);
}

function tracedRecord(record: LogRecord, vendor: VendorName, secrets: readonly string[]): TracedRecord {
  const { headers, key, value, fault } = record;
  return {
    receivedAt: receivedAtOf(record),
    retryOf: headerText(headers, rawHeader.retryOf),
    retriedAt: headerText(headers, rawHeader.retriedAt),
    traceparent: headerText(headers, rawHeader.traceparent),
    bytes: value?.length ?? null,
    headers: Object.keys(headers),
    namesUser: key !== null && !isHashKey(key.toString()),
    fault: fault?.code,
    signature: verifyStored(record, vendor, secrets),
  };
}

/**
 * The events of a record, and the newer versions of their resources. Outputs are in the partition of their raw record and
 * have its key and its timestamp: nothing before the first record of that time is an output of it.
 */
async function eventsOf(
  deployment: Deployment,
  { raw, key, timestamp }: Traced,
  watch: Watch,
): Promise<Pick<Story, 'events' | 'later'>> {
  const events: TracedEvent[] = [];
  const others: TracedEvent[] = [];
  for (const topic of Object.values(deployment.topics.priority)) {
    const range = await deployment.range(topic, raw.partition);
    const firsts = await deployment.admin.fetchTopicOffsetsByTimestamp(topic, timestamp);
    const first = BigInt(firsts.find(({ partition }) => partition === raw.partition)?.offset ?? 0);
    const part = { ...range, offset: first > range.offset ? first : range.offset };
    for await (const records of recordsOf(deployment.scanner, part, watch))
      for (const record of records) {
        if (record.fault !== undefined || !isSame(record.key, key)) continue;
        const event = await decoded(deployment, record);
        if (event?.raw.topic !== raw.topic) continue;
        const traced = tracedEvent(record, event);
        if (BigInt(event.raw.offset) === raw.offset) events.push(traced);
        else others.push(traced);
      }
  }
  const later = others.filter(({ event }) =>
    events.some(
      (own) => own.event.resource_id === event.resource_id && compareVersions(event, own.event) > 0,
    ),
  );
  later.sort((a, b) => compareVersions(a.event, b.event));
  events.sort((a, b) => compareVersions(a.event, b.event));
  return { events, later };
}

function tracedEvent({ topic, partition, offset, headers }: LogRecord, event: BiometricEvent): TracedEvent {
  return {
    position: { topic, partition, offset },
    event,
    build: headerText(headers, 'build'),
    correction: headerText(headers, 'correction'),
  };
}

function isSame(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

async function decoded({ decoder }: Deployment, { value }: LogRecord): Promise<BiometricEvent | undefined> {
  if (value === null) return undefined;
  try {
    await decoder.prepare(schemaIdOf(value));
    return decoder.decode(value);
  } catch (error) {
    // A record of another program.
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

async function lettersAbout(deployment: Deployment, raw: Position, watch: Watch): Promise<DeadLetter[]> {
  const { topics, scanner } = deployment;
  const range = await deployment.range(topics.deadLetters, raw.partition);
  const letters: DeadLetter[] = [];
  for await (const records of recordsOf(scanner, range, watch))
    for (const record of records) {
      const letter = readLetter(record, topics);
      if (letter?.raw.topic === raw.topic && letter.raw.offset === raw.offset) letters.push(letter);
    }
  return letters;
}

/** Where a record was appended again because of one of its letters. */
async function retriesOf(
  deployment: Deployment,
  raw: Position,
  letters: readonly DeadLetter[],
  watch: Watch,
): Promise<Position[]> {
  const names = new Set(letters.map(({ position }) => positionName(position)));
  if (names.size === 0) return [];
  const range = await deployment.range(raw.topic, raw.partition);
  const start = raw.offset + 1n > range.offset ? raw.offset + 1n : range.offset;
  const retries: Position[] = [];
  for await (const records of recordsOf(deployment.scanner, { ...range, offset: start }, watch))
    for (const { topic, partition, offset, headers } of records) {
      const of = headerText(headers, rawHeader.retryOf);
      if (of !== undefined && names.has(of)) retries.push({ topic, partition, offset });
    }
  return retries;
}

/**
 * Recomputes what became of a record. Only records of its key matter: no result depends on other users. Begins with the
 * live state from before the beginning of the raw topic, as a new generation would.
 */
async function recompute(
  deployment: Deployment,
  vendor: VendorName,
  raw: Position,
  record: LogRecord | undefined,
  watch: Watch,
): Promise<Outcome | string> {
  const { topic, partition, offset } = raw;
  if (record === undefined) return `${topic} no longer has the record`;
  const start = (await deployment.starts(topic))[partition];
  if (start === undefined || offset < start.offset)
    return 'the record is older than what is recomputed, so that its predecessors are not known';
  const { key } = record;
  const user = key?.toString() ?? '';
  const starts = new Map([[vendor, start]]);
  const recomputation = deployment.recomputation(partition);
  if (key !== null && start.offset > 0n)
    await restoreState(deployment, { recomputation, partition }, watch, (store, entry, value) => {
      const owner = userKey.deserialize(entry);
      if (owner.vendor !== vendor || owner.user !== user) return undefined;
      return seeded(store, entry, value, starts).value;
    });
  const range = { topic, partition, offset: start.offset, end: offset + 1n };
  for await (const records of recordsOf(deployment.scanner, range, watch))
    for (const one of records) {
      if (!isSame(one.key, key)) continue;
      const made = recomputation.process(one);
      if (one.offset === offset) return outcomeOf(made, deployment.topics.deadLetters);
    }
  return `${topic} no longer has the record`;
}
