/**
 * Golden cases: test/golden/<device>/<name>.json is one body as it would be posted (for Oura and WHOOP also an envelope
 * of the collector), <name>.jsonl several deliveries in order, each line `{"body":…,"headers":{…}}` (the body as JSON, or as a string of its
 * exact bytes), and
 * <name>.expected.json next to it is the expected result. A folder with the name of a device is all that a vendor adds.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { collectorScheme, rawHeader, headerText } from '../../schemas/raw-record.ts';
import { errorHeader, TopologyTestDriver, writeOnly, type DriverInput } from '../../streams/index.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { topics } from './support.ts';

/** When the ingress takes what names no `received_at`. */
export const goldenReceivedAt = Date.parse('2026-06-10T18:00:13Z');

/**
 * What has to come of a case. Events are written without what is null, empty, false or NORMAL, instants and revisions as
 * ISO text, triggers as their types, and `supersedes` as the priority of the version before and how many alerts it raised.
 */
export interface Expected {
  /** Why: what the case is about. */
  readonly about: string;
  /** The key of its raw records. Default `golden`. */
  readonly key?: string;
  /** By the order of the topics high, medium, normal, and in each by the order of the deliveries. */
  readonly events: readonly { readonly topic: string; readonly event: Readonly<Record<string, unknown>> }[];
  /** `operator/reason` and how often. */
  readonly dropped?: Readonly<Record<string, number>>;
  /** Code and message of each dead letter. */
  readonly deadLetters?: readonly string[];
}

export interface GoldenCase {
  readonly device: VendorName;
  readonly name: string;
  readonly records: readonly DriverInput[];
  readonly expected: Expected;
}

/** Every case of every device. */
export function goldenCases(): GoldenCase[] {
  return vendorNames.flatMap((device) => {
    const folder = new URL(`../golden/${device}/`, import.meta.url);
    if (!existsSync(folder)) return [];
    const text = (file: string): string => readFileSync(new URL(file, folder), 'utf8');
    const bodies = readdirSync(folder).filter((file) => !file.endsWith('.expected.json'));
    return bodies.sort().map((file): GoldenCase => {
      const name = file.replace(/\.jsonl?$/, '');
      const expected = JSON.parse(text(`${name}.expected.json`)) as Expected;
      const deliveries = file.endsWith('.jsonl')
        ? text(file)
            .split('\n')
            .filter((line) => line !== '')
            .map((line) => JSON.parse(line) as { body: unknown; headers?: Record<string, string> })
            .map(({ body, headers = {} }) => ({
              body: typeof body === 'string' ? body : JSON.stringify(body),
              headers,
            }))
        : [{ body: text(file), headers: {} }];
      const records = deliveries.map(({ body, headers }) =>
        goldenRecord(device, body, headers, expected.key ?? 'golden'),
      );
      return { device, name, records, expected };
    });
  });
}

/** The raw record of a body. One in the form of an envelope is the collector's unless its headers say otherwise. */
export function goldenRecord(
  device: VendorName,
  body: string,
  headers: Readonly<Record<string, string>> = {},
  key = 'golden',
): DriverInput {
  const parsed = JSON.parse(body) as unknown;
  const isEnvelope =
    typeof parsed === 'object' && parsed !== null && 'notification' in parsed && 'resource' in parsed;
  const all = {
    [rawHeader.receivedAt]: String(goldenReceivedAt),
    [rawHeader.scheme]: isEnvelope ? collectorScheme : device,
    ...headers,
  };
  return {
    topic: topics.raw[device],
    key: Buffer.from(key),
    value: Buffer.from(body),
    timestamp: Number(all[rawHeader.receivedAt]),
    headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
  };
}

/** What came out of the topology. */
export interface Outcome {
  readonly events: readonly {
    readonly topic: string;
    readonly event: BiometricEvent;
    readonly bytes: string;
  }[];
  readonly deadLetters: readonly string[];
  readonly dropped: Readonly<Record<string, number>>;
}

const encode = createEncoder(7);
const { decode, prepare } = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
await prepare(7);

/** Runs raw records through the real topology in the test driver. */
export async function outcomeOf(records: readonly DriverInput[]): Promise<Outcome> {
  const topology = biometrics({ topics, rules: defaultRules, biometricEvent: writeOnly(encode), build: 'b' });
  const driver = new TopologyTestDriver(topology, {
    deadLetterTopic: topics.deadLetters,
    topics: topicSpecs(topics),
  });
  driver.append(...records);
  await driver.process();
  return {
    events: Object.values(topics.priority).flatMap((topic) =>
      driver
        .output(topic)
        .map(({ value }) => ({ topic, event: decode(value!), bytes: value!.toString('base64') })),
    ),
    deadLetters: driver
      .output(topics.deadLetters)
      .map(
        ({ headers }) =>
          `${headerText(headers, errorHeader.exception)}: ${headerText(headers, errorHeader.message)}`,
      ),
    dropped: Object.fromEntries(driver.dropped),
  };
}

/** An event as golden files write it; without the fields that depend only on its position and arrival. */
export function written(event: BiometricEvent): Record<string, unknown> {
  const iso = (epochMs: number): string => new Date(epochMs).toISOString();
  const shown: Record<string, unknown> = {
    ...event,
    timestamp: iso(event.timestamp),
    revision: iso(event.revision),
    triggers: event.triggers.map(({ type }) => type),
    supersedes: superseded(event.supersedes),
  };
  const isDefault = (value: unknown): boolean =>
    value === null ||
    value === false ||
    value === 'NORMAL' ||
    (Array.isArray(value) && value.length === 0) ||
    (typeof value === 'object' && Object.keys(value).length === 0);
  return Object.fromEntries(
    Object.entries(shown).filter(([name, value]) => {
      if (['event_id', 'raw', 'received_at'].includes(name)) return false;
      // The priority of the previous version, whatever it is, shows that there was one.
      if (name === 'supersedes') return value !== null;
      return name === 'generation' ? value !== 0 : !isDefault(value);
    }),
  );
}

function superseded(before: BiometricEvent['supersedes']): string | null {
  if (before === null) return null;
  const { priority, alert_ids } = before;
  return alert_ids.length === 0
    ? priority
    : `${priority}, ${alert_ids.length} alert${alert_ids.length > 1 ? 's' : ''}`;
}
