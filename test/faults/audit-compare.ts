/** What an audit compares: outputs by the raw record they came from, and the entries of stores. */
import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { schemaIdOf, type Decoder } from '../../schemas/codec.ts';
import { errorHeader } from '../../streams/errors.ts';
import { type OutputHeaders, type OutputRecord } from '../../streams/index.ts';
import { headerText } from '../../schemas/raw-record.ts';

/** The position of a raw record. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** `topic-partition@offset` */
export function placeName({ topic, partition, offset }: Place): string {
  return `${topic}-${partition}@${offset}`;
}

/** The differences of one kind that were found; some of them in words that quote no record. */
export class Findings {
  count = 0;
  readonly examples: string[] = [];

  add(what: string): void {
    this.count += 1;
    if (this.examples.length < 5) this.examples.push(what);
  }
}

/** An output by itself, with the raw record that it says it came from; undefined when it does not say. */
export async function traced(
  output: OutputRecord,
  deadLetters: string,
  decoder: Decoder,
): Promise<Traced | undefined> {
  const { topic, value, headers } = output;
  if (topic === deadLetters) {
    const [rawTopic, partition, offset] = [errorHeader.topic, errorHeader.partition, errorHeader.offset].map(
      (name) => headerText(headers, name),
    );
    if (rawTopic === undefined) return undefined;
    const origin = { topic: rawTopic, partition: Number(partition), offset: Number(offset) };
    return { output, origin, event: undefined };
  }
  if (value === null) return undefined;
  try {
    await decoder.prepare(schemaIdOf(value));
    const event = decoder.decode(value);
    return { output, origin: event.raw, event };
  } catch {
    return undefined;
  }
}

/** An output with the raw record it came from. */
export interface Traced {
  readonly output: OutputRecord;
  readonly origin: Place;
  /** Undefined for a dead letter. */
  readonly event: BiometricEvent | undefined;
}

/**
 * Compares, for each raw partition and each output topic, what came out with what should have: the same bytes in the
 * same order. Raw topics may interleave as they like.
 * @param isRefused - whether a raw record's dead letter was written because the broker refused its output: headers of
 *   its dead letter are not compared.
 */
export function compareOutputs(
  expected: readonly Traced[],
  actual: readonly Traced[],
  isRefused: (origin: Place) => boolean,
): Findings {
  const findings = new Findings();
  const left = sequences(expected, isRefused);
  const right = sequences(actual, isRefused);
  for (const name of new Set([...left.keys(), ...right.keys()])) {
    const wanted = byOffset(left.get(name) ?? []);
    const found = byOffset(right.get(name) ?? []);
    for (const offset of new Set([...wanted.keys(), ...found.keys()])) {
      const [some, others] = [wanted.get(offset) ?? [], found.get(offset) ?? []];
      for (let at = 0; at < Math.max(some.length, others.length); at += 1) {
        if (some[at] === undefined) findings.add(`${name}@${offset}: should not be there`);
        else if (others[at] === undefined) findings.add(`${name}@${offset}: should be there`);
        else if (some[at] !== others[at]) findings.add(`${name}@${offset}: has other bytes`);
      }
    }
    let last = -1;
    for (const { offset } of right.get(name) ?? []) {
      if (offset < last) findings.add(`${name}@${offset}: stands behind @${last}`);
      last = offset;
    }
  }
  return findings;
}

interface Print {
  readonly offset: number;
  readonly print: string;
}

function sequences(
  outputs: readonly Traced[],
  isRefused: (origin: Place) => boolean,
): Map<string, readonly Print[]> {
  const all = new Map<string, Print[]>();
  for (const { output, origin } of outputs) {
    const name = `${output.topic}-${output.partition} of ${origin.topic}-${origin.partition}`;
    const sequence = all.get(name) ?? [];
    sequence.push({ offset: origin.offset, print: fingerprint(output, isRefused(origin)) });
    all.set(name, sequence);
  }
  return all;
}

function byOffset(prints: readonly Print[]): Map<number, readonly string[]> {
  const all = new Map<number, string[]>();
  for (const { offset, print } of prints) all.set(offset, [...(all.get(offset) ?? []), print]);
  return all;
}

function fingerprint({ timestamp, key, value, headers }: OutputRecord, isRefused: boolean): string {
  const all = [timestamp, base64(key), base64(value), isRefused ? [] : headerList(headers)];
  return createHash('sha256').update(JSON.stringify(all)).digest('base64');
}

function headerList(headers: OutputHeaders): unknown[] {
  return Object.entries(headers).map(([name, value]) => [
    name,
    value === null || Buffer.isBuffer(value)
      ? base64(value)
      : typeof value === 'string'
        ? base64(Buffer.from(value))
        : value.map(base64),
  ]);
}

function base64(bytes: Buffer | null): string | null {
  return bytes?.toString('base64') ?? null;
}

/** An entry of a store: key, value, and the timestamp of the record that put it. */
export type StoreEntry = readonly [Buffer, Buffer, number];

/** What compaction leaves of a changelog's partition. */
export function compacted(
  records: readonly Pick<OutputRecord, 'key' | 'value' | 'timestamp'>[],
): StoreEntry[] {
  const entries = new Map<string, StoreEntry>();
  for (const { key, value, timestamp } of records) {
    const bytes = key ?? Buffer.alloc(0);
    if (value === null) entries.delete(bytes.toString('latin1'));
    else entries.set(bytes.toString('latin1'), [bytes, value, timestamp]);
  }
  return [...entries.values()];
}

/** Compares the entries of one partition of a store, in any order; `name` is reported with each difference. */
export function compareEntries(
  name: string,
  expected: Iterable<StoreEntry>,
  actual: Iterable<StoreEntry>,
  findings: Findings,
): void {
  const print = ([, value, timestamp]: StoreEntry): string => `${timestamp} ${value.toString('base64')}`;
  const wanted = new Map(Array.from(expected, (entry) => [entry[0].toString('latin1'), print(entry)]));
  for (const entry of actual) {
    const key = entry[0].toString('latin1');
    const should = wanted.get(key);
    wanted.delete(key);
    if (should === undefined) findings.add(`${name}: an entry that should not be there`);
    else if (should !== print(entry)) findings.add(`${name}: an entry has another value`);
  }
  for (let missing = wanted.size; missing > 0; missing -= 1) findings.add(`${name}: an entry is missing`);
}
