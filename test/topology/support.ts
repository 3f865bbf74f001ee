import assert from 'node:assert/strict';
import type { BiometricEvent, Superseded } from '../../schemas/biometric-event.ts';
import { alertsStore, markFirst } from '../../topology/alerts.ts';
import { baselinesStore, withBaseline } from '../../topology/baseline.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { noMeasurements, type Reading } from '../../vendors/reading.ts';
import { newestRevision, revisionsStore } from '../../topology/revisions.ts';
import {
  changelogSpecs,
  serdes,
  StreamsBuilder,
  TopologyTestDriver,
  writeOnly,
  type DriverInput,
  type RecordContext,
  type Serde,
  type Topology,
} from '../../streams/index.ts';
import { topicNames } from '../../schemas/topics.ts';
import { analyze, defaultRules, type TriggerRule } from '../../topology/triggers.ts';
import { type VendorName, vendorNames } from '../../vendors/index.ts';

export const topics = topicNames('', vendorNames);
export const dayMs = 86_400_000;

/** When the ingress of the tests takes everything. */
export const receivedAt = Date.parse('2025-07-30T12:00:05Z');

/** The context of a raw record of `device`, as the ingress writes it. */
export function rawRecord(device: VendorName, headers: Record<string, string> = {}): RecordContext {
  const all = { [rawHeader.receivedAt]: String(receivedAt), [rawHeader.scheme]: 'plain', ...headers };
  return {
    topic: topics.raw[device],
    partition: 2,
    offset: 17n,
    timestamp: receivedAt,
    key: 'u',
    headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
    charge: () => undefined,
  };
}

/** A plausible reading; tests change what they are about. */
export function aReading(changes: Partial<Reading> = {}): Reading {
  return {
    ...noMeasurements,
    hrv: 50,
    source: 'oura',
    user_id: 'u',
    kind: 'reading',
    timestamp: Date.parse('2025-07-30T12:00:00Z'),
    local_date: null,
    flags: [],
    resource_id: 'r',
    revision: null,
    deleted: false,
    sleep: null,
    origins: { at: '', fields: {} },
    ...changes,
  };
}

/** What a vendor's normalizer makes of a retraction. */
export function aDeletion(changes: Partial<Reading> = {}): Reading {
  return aReading({ hrv: null, deleted: true, ...changes });
}

/** What the next version of an event's resource has to say of it. */
export function superseded({ event_id, priority, triggers }: BiometricEvent): Superseded {
  return { event_id, priority, alert_ids: [...new Set(triggers.map(({ alert_id }) => alert_id))] };
}

const readingJson: Serde<Reading> = {
  serialize: (reading) => Buffer.from(JSON.stringify(reading)),
  deserialize: (bytes) => JSON.parse(String(bytes)) as Reading,
};

/** Where and when a reading arrives; by default from oura at `receivedAt`. */
export interface Arrival {
  readonly device?: VendorName;
  readonly at?: number;
  /** When it was appended again as a retried dead letter. */
  readonly retriedAt?: number;
}

/** The raw record of a reading as JSON. */
export function readingRecord(
  reading: Reading,
  { device = 'oura', at = receivedAt, retriedAt }: Arrival = {},
): DriverInput {
  const retry =
    retriedAt === undefined
      ? {}
      : {
          [rawHeader.retryOf]: Buffer.from('biometric-events.dlq:0:1'),
          [rawHeader.retriedAt]: Buffer.from(String(retriedAt)),
        };
  return {
    topic: topics.raw[device],
    value: readingJson.serialize(reading),
    timestamp: at,
    headers: { [rawHeader.receivedAt]: Buffer.from(String(at)), ...retry },
  };
}

/** The operators behind the normalizers, over readings as JSON; events go to the topic `events`, as JSON. */
export function readingsTopology(rules: readonly TriggerRule[] = defaultRules): Topology {
  const builder = new StreamsBuilder()
    .addStateStore('revisions', revisionsStore)
    .addStateStore('baselines', baselinesStore)
    .addStateStore('alerts', alertsStore);
  builder
    .stream('raw', Object.values(topics.raw), { key: serdes.utf8, value: readingJson })
    .processValues('newest-revision', newestRevision(topics), { stores: ['revisions'] })
    .processValues('baseline', withBaseline, { stores: ['baselines'] })
    .mapValues('triggers', analyze(rules))
    .processValues('alerts', markFirst, { stores: ['alerts', 'revisions'] })
    .to('route', 'events', {
      value: writeOnly<BiometricEvent>((event) => Buffer.from(JSON.stringify(event))),
    });
  return builder.build();
}

/**
 * These operators in the test driver: what a vendor gives that no payload of the simple format has (its own revisions,
 * days, deletions) can be said directly.
 */
export class ReadingsDriver extends TopologyTestDriver {
  constructor(rules?: readonly TriggerRule[]) {
    const topology = readingsTopology(rules);
    // Tests send readings of any year.
    const config = { 'message.timestamp.after.max.ms': '9223372036854775807' };
    const changelogs = changelogSpecs(topology, 'test-driver').map(({ name }) => name);
    super(topology, {
      deadLetterTopic: 'dead',
      topics: ['events', ...changelogs].map((name) => ({ name, config })),
    });
  }

  /** Every event so far. */
  events(): BiometricEvent[] {
    assert.deepEqual(this.output('dead'), []);
    return this.output('events').map(({ value }) => JSON.parse(String(value)) as BiometricEvent);
  }

  /** Sends a reading that must become an event. */
  async event(reading: Reading, arrival?: Arrival): Promise<BiometricEvent> {
    const before = this.events().length;
    await this.pipe(readingRecord(reading, arrival));
    const [event, ...more] = this.events().slice(before);
    assert.ok(event !== undefined && more.length === 0, 'expected one event');
    return event;
  }

  /** Sends a reading that must be dropped; answers the reason. */
  async drop(reading: Reading, arrival?: Arrival): Promise<string> {
    const before = new Map(this.dropped);
    const events = this.events().length;
    await this.pipe(readingRecord(reading, arrival));
    assert.equal(this.events().length, events, 'expected no event');
    const [node] = [...this.dropped].find(([name, count]) => count !== before.get(name)) ?? [''];
    return node.replace('newest-revision/', '');
  }
}
