import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { avroType } from '../../schemas/avro.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import { writeOnly, type OutputRecord, type Topology } from '../../streams/index.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { defaultRules } from '../../topology/triggers.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import type { Reading } from '../../vendors/reading.ts';
import {
  aDeletion,
  aReading,
  readingRecord,
  readingsTopology,
  receivedAt,
  superseded,
  topics,
} from './support.ts';

/** What the build of 2026-11-28 (58c04de) wrote to its changelogs, and what it made of later records from there on. */
interface Landed {
  /** The next offset of each raw topic. */
  readonly offsets: Record<string, number>;
  /** By store: key and value as base64, and the timestamp. */
  readonly changelogs: Record<string, [string, string, number][]>;
  readonly later: {
    readonly topic: string;
    readonly key: string;
    readonly value: string;
    readonly timestamp: number;
    readonly headers: Record<string, string>;
    /** The topic of each output, and the beginning of the SHA-256 of its value. */
    readonly outputs: readonly string[];
  }[];
}

const landed = JSON.parse(
  readFileSync(new URL('../golden/state/landed.json', import.meta.url), 'utf8'),
) as Landed;

/** The contract of that build: without what later versions have added. */
const version1 = readFileSync(
  new URL('../../schemas/history/biometric-event.v1.avsc', import.meta.url),
  'utf8',
);

const encode = createEncoder(7, version1);

/** An event without what version 1 of the contract does not know. */
function inVersion1(event: BiometricEvent): BiometricEvent {
  const fields = Object.entries(event).filter(([name]) => name !== 'generation');
  const before = event.supersedes;
  const supersedes = before === null ? null : { event_id: before.event_id, priority: before.priority };
  return { ...Object.fromEntries(fields), supersedes } as unknown as BiometricEvent;
}

/** The topology as that build named itself, and by its contract. */
function wholeTopology(): Topology {
  const biometricEvent = writeOnly((event: BiometricEvent) => encode(inVersion1(event)));
  return biometrics({ topics, rules: defaultRules, biometricEvent, build: 'landed' });
}

type Changelogs = Landed['changelogs'];

/** A topology started on the changelogs of a build before. */
function started(topology = wholeTopology(), changelogs: Changelogs = landed.changelogs): RecordProcessor {
  const processor = new RecordProcessor(topology, 0, {
    applicationId: 'app',
    handlers: deadLetterAlways,
    deadLetterTopic: topics.deadLetters,
  });
  for (const store of processor.stores)
    for (const [key, value, timestamp] of changelogs[store.name] ?? [])
      store.restore({ key: Buffer.from(key, 'base64'), value: Buffer.from(value, 'base64'), timestamp });
  return processor;
}

/**
 * What a day's totals come to where this build counts otherwise than the build before, by the place among the later records;
 * null where nothing changes. That build added minutes to their hour, and a watch to a phone, and forgot a day of ten days
 * ago whole.
 */
const otherTotals = new Map<number, Readonly<Record<string, number>> | null>([
  // Minutes inside hours that are known.
  [1, { steps: 284 }],
  // A watch and a phone, each of which counted every other point, competing in each of three hours.
  [2, { steps: 1_654, active_energy_kcal: 10 }],
  [3, { steps: 1_659, active_energy_kcal: 10, total_energy_kcal: 28 }],
  // A third device that counted less.
  [4, null],
  // A fragment of a day that only the totals are known of.
  [11, null],
  [12, { steps: 1_663, active_energy_kcal: 10, total_energy_kcal: 28 }],
  [13, null],
]);
const decoder = createDecoder(() => Promise.resolve(avroType(version1)));
await decoder.prepare(7);

for (const commits of [true, false]) {
  test(`case 5: started on the changelogs of the build before, later records come out as from that build, ${commits ? 'each' : 'all'} in one transaction`, () => {
    const processor = started();
    const offsets = new Map(Object.entries(landed.offsets));
    for (const [at, { topic, key, value, timestamp, headers, outputs: expected }] of landed.later.entries()) {
      const outputs: OutputRecord[] = [];
      const offset = offsets.get(topic) ?? 0;
      offsets.set(topic, offset + 1);
      processor.process(
        {
          topic,
          partition: 0,
          offset: BigInt(offset),
          timestamp,
          key: Buffer.from(key),
          value: Buffer.from(value),
          headers: Object.fromEntries(
            Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)]),
          ),
        },
        outputs,
      );
      const where = `${topic} offset ${offset}`;
      const other = otherTotals.get(at);
      if (other === undefined) {
        const digests = outputs.map(({ topic: to, value: bytes }) => `${to} ${digest(bytes!)}`);
        assert.deepEqual(digests, expected, where);
      } else {
        const totals = outputs.map(({ value: bytes }) => decoder.decode(bytes!).activity_data);
        assert.deepEqual(totals, other === null ? [] : [other], where);
      }
      if (commits) for (const store of processor.stores) store.foldIn();
    }
  });
}

test('case 5: entries of the build before are divided as they are touched', () => {
  const processor = started();
  const [points, revisions] = ['points', 'revisions'].map((name) =>
    processor.stores.find((store) => store.name === name),
  );
  const before = [points!.size, revisions!.size];
  // The last one comes when only the totals of the dense day are known.
  for (const [at, { topic, key, value, timestamp, headers }] of landed.later.slice(0, -1).entries())
    processor.process(
      {
        topic,
        partition: 0,
        offset: BigInt(100 + at),
        timestamp,
        key: Buffer.from(key),
        value: Buffer.from(value),
        headers: Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, Buffer.from(text)])),
      },
      [],
    );
  for (const store of processor.stores) store.foldIn();
  assert.ok(points!.size >= before[0]! + 4, 'the dense day has an entry for each of its hours');
  assert.ok(revisions!.size >= before[1]! + 8, 'the full bucket has become a branch');
});

/** The operators behind the normalizers, on the same changelogs; readings are of the user of the stored baseline. */
class Restarted {
  readonly #processor: RecordProcessor;
  readonly #at: number;
  #offset = 100n;

  /** @param at - when it receives everything, epoch ms. */
  constructor(changelogs: Changelogs = landed.changelogs, at = 1_781_208_000_000) {
    this.#at = at;
    this.#processor = started(readingsTopology(), changelogs);
  }

  send(reading: Reading): BiometricEvent[] {
    const { value, headers = {}, topic } = readingRecord(reading, { at: this.#at });
    const outputs: OutputRecord[] = [];
    const input = { topic, partition: 0, offset: this.#offset, timestamp: this.#at };
    this.#processor.process({ ...input, key: Buffer.from('u'), value, headers }, outputs);
    this.#offset += 1n;
    assert.ok(outputs.every(({ topic: to }) => to === 'events'));
    return outputs.map((output) => JSON.parse(String(output.value)) as BiometricEvent);
  }

  event(reading: Reading): BiometricEvent {
    const [event, ...more] = this.send(reading);
    assert.ok(event !== undefined && more.length === 0, 'expected one event');
    return event;
  }

  /** The stored baseline of the user. */
  baseline(): Buffer {
    const store = this.#processor.stores.find(({ name }) => name === 'baselines')!;
    store.foldIn();
    const [[, table]] = [...store.entries()] as [[Buffer, Buffer, number]];
    return table;
  }
}

const of = (day: string, changes: Partial<Reading> = {}): Reading =>
  aReading({ timestamp: Date.parse(day), resource_id: `${day}T00:00:00.000Z`, ...changes });

test('values that the build before stored without a sleep are those of other events, until revised or deleted', () => {
  // Stored are 50 of June 6, 61.5 of June 7 and 22 of June 8, by readings of the simple format.
  const bridge = new Restarted();
  let looks = 0;
  const look = (): number | undefined => {
    looks += 1;
    const looking = of('2026-06-09', { hrv: null, sleep_score: 80, resource_id: `look ${looks}` });
    return bridge.event(looking).baseline?.hrv_mean;
  };
  assert.equal(look(), (50 + 61.5 + 22) / 3);
  bridge.event(of('2026-06-08', { hrv: 25 }));
  assert.equal(look(), (50 + 61.5 + 25) / 3, 'a revised value replaces its own');
  const night = { startMs: Date.parse('2026-06-06T22:00:00Z'), endMs: Date.parse('2026-06-07T06:00:00Z') };
  bridge.event(of('2026-06-07', { hrv: 70, resource_id: 'sleep:1', sleep: night }));
  assert.equal(look(), (50 + 70 + 25) / 3, 'a main sleep counts before one');
  bridge.event(aDeletion({ timestamp: Date.parse('2026-06-07'), resource_id: 'sleep:1' }));
  assert.equal(look(), (50 + 61.5 + 25) / 3, 'and without it the value counts again');
  bridge.event(of('2026-06-06', { hrv: 40, resource_id: 'other' }));
  assert.equal(look(), (40 + 61.5 + 25) / 3, 'another value of its day replaces one');
  bridge.event(aDeletion({ timestamp: 0, resource_id: '2026-06-07T00:00:00.000Z' }));
  assert.equal(look(), (40 + 25) / 2);
});

test('baselines are written in the new layout as they change, with the offsets that the build before did not store', () => {
  const bridge = new Restarted();
  bridge.event(of('2026-06-08', { hrv: 25 }));
  const table = bridge.baseline();
  assert.deepEqual([table[0], table.length], [2, 1 + 3 * 44]);
  assert.deepEqual(
    [1, 45, 89].map((at) => [
      table.readDoubleBE(at + 4),
      table.readUInt32BE(at + 26),
      table.readBigInt64BE(at + 36),
    ]),
    [
      [50, 0, -1n],
      [61.5, 0, -1n],
      [25, 0, 100n],
    ],
  );
});

test('a version that the build before stored has the revision that its vendor gave', () => {
  const bridge = new Restarted();
  const [stored, hrv] = [1_781_121_600_000, 30];
  assert.deepEqual(bridge.send(of('2026-06-06', { hrv, revision: stored - 1 })), []);
  const equal = bridge.event(of('2026-06-06', { hrv, revision: stored }));
  assert.equal(equal.revision, stored + 1);
  assert.equal(equal.supersedes?.event_id, '0ceb4feb-9f05-862c-b4f1-cf2b68166184');
});

/** What the build of layout 3 of `revisions` (dd5bf5b) wrote of 38 resources, and their last versions. */
const layout3 = JSON.parse(
  readFileSync(new URL('../golden/state/layout-3.json', import.meta.url), 'utf8'),
) as {
  readonly changelogs: Changelogs;
  readonly versions: Readonly<Record<string, { event_id: string; priority: string; revision: number }>>;
};

test('a version of the build before is superseded without alerts, because it stored none, and the versions since with theirs', () => {
  const bridge = new Restarted(layout3.changelogs, receivedAt + 60_000);
  for (const [resource_id, { event_id, priority, revision }] of Object.entries(layout3.versions)) {
    const next = bridge.event(aReading({ resource_id, hrv: 21, sleep_score: 61, revision: revision + 1 }));
    assert.deepEqual(next.supersedes, { event_id, priority, alert_ids: [] }, resource_id);
    const after = bridge.event(aReading({ resource_id, hrv: 60, revision: revision + 2 }));
    assert.equal(next.triggers.length, 2);
    assert.deepEqual(after.supersedes, superseded(next), resource_id);
  }
});

test('a version of the build before is known, and so are the alerts that it raised', () => {
  const bridge = new Restarted(layout3.changelogs, receivedAt + 60_000);
  const night = { resource_id: 'poor night', kind: 'sleep', local_date: '2025-07-30' } as const;
  assert.deepEqual(bridge.send(aReading({ ...night, hrv: 22, sleep_score: 60 })), []);
  assert.deepEqual(bridge.send(aDeletion({ resource_id: 'gone' })), []);
  const { triggers } = bridge.event(aReading({ ...night, hrv: 21, sleep_score: 60 }));
  assert.deepEqual(
    triggers.map(({ first }) => first),
    [false, false],
  );
});

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}
