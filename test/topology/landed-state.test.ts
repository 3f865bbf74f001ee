import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { createEncoder } from '../../schemas/codec.ts';
import { writeOnly, type OutputRecord } from '../../streams/index.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { topics } from './support.ts';

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

/** The topology as the build before named itself, started on its changelogs. */
function started(): RecordProcessor {
  const biometricEvent = writeOnly(createEncoder(7));
  const topology = biometrics({ topics, rules: defaultRules, biometricEvent, build: 'landed' });
  const processor = new RecordProcessor(topology, 0, {
    applicationId: 'app',
    handlers: deadLetterAlways,
    deadLetterTopic: topics.deadLetters,
  });
  for (const store of processor.stores)
    for (const [key, value, timestamp] of landed.changelogs[store.name] ?? [])
      store.restore({ key: Buffer.from(key, 'base64'), value: Buffer.from(value, 'base64'), timestamp });
  return processor;
}

for (const commits of [true, false]) {
  test(`case 5: started on the changelogs of the build before, later records come out as from that build, ${commits ? 'each' : 'all'} in one transaction`, () => {
    const processor = started();
    const offsets = new Map(Object.entries(landed.offsets));
    for (const { topic, key, value, timestamp, headers, outputs: expected } of landed.later) {
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
      assert.deepEqual(
        outputs.map(({ topic: to, value: bytes }) => `${to} ${digest(bytes!)}`),
        expected,
        `${topic} offset ${offset}`,
      );
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
  for (const [at, { topic, key, value, timestamp, headers }] of landed.later.entries())
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

function digest(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}
