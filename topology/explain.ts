import { avroType } from '../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../schemas/codec.ts';
import { version } from '../process/version.ts';
import { biometrics } from './biometrics.ts';
import { dailyOrigins } from './daily-totals.ts';
import type { DayPoints } from '../vendors/day-points.ts';
import { userKey } from './packed.ts';
import { readDay } from './stored-day.ts';
import { addNames, totalParts, type SourceNames, type TotalParts } from './total-parts.ts';
import { buildId } from './headers.ts';
import { normalize } from './normalize.ts';
import { rawPayload } from './raw-payload.ts';
import type { Origins, Reading } from '../vendors/reading.ts';
import {
  Dropped,
  Partly,
  Rejected,
  TopologyTestDriver,
  writeOnly,
  type Headers,
  type OutputHeaders,
  type OutputRecord,
  type RecordContext,
} from '../streams/index.ts';
import type { VendorName } from '../vendors/index.ts';
import type { TriggerRule } from './triggers.ts';
import { topicSpecs, type TopicNames } from '../schemas/topics.ts';

/** A webhook as a raw topic stores it. */
export interface Delivery {
  readonly key: Buffer;
  readonly body: Buffer;
  /** Raw headers, including `received_at` and `scheme`. */
  readonly headers: Headers;
  /** Epoch ms. */
  readonly receivedAt: number;
}

/** What the topology made of one delivery. */
export interface Explanation {
  readonly delivery: Delivery;
  readonly topic: string;
  readonly offset: bigint;
  readonly outputs: readonly Explained[];
  /** How the totals came about for each day that the delivery touched, whether or not that made an event. */
  readonly days: readonly { readonly date: string; readonly totals: readonly TotalParts[] }[];
  /** Values that ended without output, by `operator/reason`. */
  readonly dropped: ReadonlyMap<string, number>;
}

/** One output record. */
export interface Explained {
  readonly record: OutputRecord;
  /** Decoded from the record's bytes; undefined for a dead letter. */
  readonly event: BiometricEvent | undefined;
  /** The origins of the event's fields; undefined for a dead letter. */
  readonly origins: Origins | undefined;
  /** How the totals of a day came about; undefined for anything else. */
  readonly totals: readonly TotalParts[] | undefined;
}

/** No registry is involved: any id will do, the bytes after it are the same. */
const schemaId = 1;

/** Runs deliveries of one vendor, in order and with state, through the topology itself, without a broker. */
export async function explain(
  deliveries: readonly Delivery[],
  options: { vendor: VendorName; topics: TopicNames<VendorName>; rules: readonly TriggerRule[] },
): Promise<Explanation[]> {
  const { vendor, topics, rules } = options;
  const decoder = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
  await decoder.prepare(schemaId);
  const topology = biometrics({
    topics,
    rules,
    biometricEvent: writeOnly(createEncoder(schemaId)),
    build: buildId({ version: version(), rules, schemaId }),
  });
  const driver = new TopologyTestDriver(topology, {
    deadLetterTopic: topics.deadLetters,
    topics: topicSpecs(topics),
  });
  const topic = topics.raw[vendor];
  const explanations: Explanation[] = [];
  const sources: SourceNames = new Map();
  for (const [at, delivery] of deliveries.entries()) {
    const { key, body: value, headers, receivedAt: timestamp } = delivery;
    const before = new Map(driver.dropped);
    const records = await driver.pipe({ topic, key, value, headers, timestamp });
    const offset = BigInt(at);
    const charge = (): void => undefined;
    const context = { topic, partition: 0, offset, timestamp, key: key.toString(), headers, charge };
    const values = valuesOf(topics, delivery, context);
    const readings = new Map<string, Reading>();
    const touched = new Map<string, DayPoints>();
    for (const value of values) {
      if ('points' in value) touched.set(value.date, value);
      else readings.set(value.resource_id, value);
    }
    for (const day of touched.values()) addNames(sources, day);
    const totals = touched.size === 0 ? noTotals : totalsIn(driver, sources);
    const days = new Map([...touched].map(([date, day]) => [`daily:${date}`, { date, totals: totals(day) }]));
    explanations.push({
      delivery,
      topic,
      offset,
      outputs: records.map((record) => {
        const event =
          record.topic === topics.deadLetters || record.value === null
            ? undefined
            : decoder.decode(record.value);
        const id = event?.resource_id ?? '';
        const day = days.get(id);
        return {
          record,
          event,
          origins: day === undefined ? originsOf(readings.get(id)) : dailyOrigins,
          totals: day?.totals,
        };
      }),
      days: [...days.values()],
      dropped: new Map(
        [...driver.dropped]
          .map(([name, count]) => [name, count - (before.get(name) ?? 0)] as const)
          .filter(([, count]) => count > 0),
      ),
    });
  }
  return explanations;
}

function valuesOf(
  topics: TopicNames<VendorName>,
  { body }: Delivery,
  context: RecordContext,
): readonly (Reading | DayPoints)[] {
  try {
    const made = normalize(topics)(rawPayload.deserialize(body), context);
    if (made instanceof Dropped || made instanceof Rejected) return [];
    return made instanceof Partly ? [...made.values] : made;
  } catch {
    // The dead letter names the reason.
    return [];
  }
}

/** Where the fields of an event came from: a revision that the vendor did not give came from nowhere in the payload. */
function originsOf(reading: Reading | undefined): Origins | undefined {
  if (reading?.revision !== null) return reading?.origins;
  const fields = Object.entries(reading.origins.fields).filter(([field]) => field !== 'revision');
  return { ...reading.origins, fields: Object.fromEntries(fields) };
}

/** How the totals of days came about: reads the store once, because a delivery may bring thousands of days. */
function totalsIn(driver: TopologyTestDriver, sources: SourceNames): (day: DayPoints) => TotalParts[] {
  const entries = new Map(
    driver.storeEntries('points').map(([key, value]) => [key.toString('latin1'), value]),
  );
  return (day) => {
    const found = readDay((key) => entries.get(userKey.serialize(key)?.toString('latin1') ?? ''), day);
    return found === undefined ? [] : totalParts(found, sources);
  };
}

const noTotals = (): TotalParts[] => [];

/** The headers of an output as text, null where one has no value; a repeated one is a list. */
export function headersAsText(
  headers: OutputHeaders,
): Record<string, string | null | readonly (string | null)[]> {
  const text = (value: string | Buffer | null): string | null => value?.toString() ?? null;
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [
      name,
      value === null || typeof value === 'string' || Buffer.isBuffer(value) ? text(value) : value.map(text),
    ]),
  );
}

/** An event with its instants as ISO 8601 text, UTC, and the other fields unchanged. */
export function withInstantsAsText(event: BiometricEvent): Record<string, unknown> {
  const instant = (epochMs: number): string => new Date(epochMs).toISOString();
  return { ...event, timestamp: instant(event.timestamp), received_at: instant(event.received_at) };
}
