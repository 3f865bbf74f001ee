import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BiometricEvent, Superseded } from '../../schemas/biometric-event.ts';
import type { OutputRecord } from '../../streams/index.ts';
import { deadLetterAlways } from '../../streams/errors.ts';
import { RecordProcessor } from '../../streams/processor.ts';
import { contentHash, outcomeHash } from '../../topology/events.ts';
import { rememberedMs, shortHash } from '../../topology/packed.ts';
import {
  findVersion,
  isVersionRemembered,
  readOutcomes,
  readTold,
  readVersion,
  versionsOf,
} from '../../topology/version-rows.ts';
import type { Reading } from '../../vendors/reading.ts';
import {
  aDeletion,
  aReading,
  dayMs,
  readingRecord,
  readingsTopology,
  receivedAt,
  superseded,
} from './support.ts';

type Entry = [Buffer, Buffer, number];

/** The operators behind the normalizers, and the state that a build left. */
class Build {
  readonly #processor = new RecordProcessor(readingsTopology(), 0, {
    applicationId: 'app',
    handlers: deadLetterAlways,
    deadLetterTopic: 'dead',
  });

  constructor(state: ReadonlyMap<string, readonly Entry[]> = new Map()) {
    for (const store of this.#processor.stores)
      for (const [key, value, timestamp] of state.get(store.name) ?? [])
        store.restore({ key, value, timestamp });
  }

  send(reading: Reading, at: number, offset: bigint): BiometricEvent | undefined {
    const { value, headers = {}, topic } = readingRecord(reading, { at });
    const outputs: OutputRecord[] = [];
    this.#processor.process(
      { topic, partition: 0, offset, timestamp: at, key: Buffer.from('u'), value, headers },
      outputs,
    );
    assert.ok(outputs.every(({ topic: to }) => to === 'events'));
    assert.ok(outputs.length <= 1);
    return outputs.map((output) => JSON.parse(String(output.value)) as BiometricEvent)[0];
  }

  state(): Map<string, Entry[]> {
    for (const store of this.#processor.stores) store.foldIn();
    return new Map(this.#processor.stores.map((store) => [store.name, [...store.entries()]]));
  }
}

/** A bucket as the build before wrote it: rows of 51 bytes that end with what the vendor gave as the revision. */
function inLayout3(bucket: Buffer): Buffer {
  if (bucket.length === 1) return bucket;
  const rows = versionsOf(bucket).map((row) => {
    const old = Buffer.from(row.subarray(0, 51));
    old[38] = old[38]! & 3;
    return old;
  });
  return Buffer.concat([Buffer.of(3), ...rows]);
}

/** Resources of one bucket, more than it holds before it becomes a branch, and two of others. */
const ids = [...ofOneBucket(40), 'x', 'y'];

function ofOneBucket(count: number): string[] {
  const all: string[] = [];
  for (let n = 0; all.length < count; n += 1) if (shortHash(`r${n}`)[0]! >> 2 === 5) all.push(`r${n}`);
  return all;
}

/** What the model knows of a resource. */
interface Known {
  readonly touched: number;
  /** What its next version supersedes. */
  readonly last: Superseded;
  readonly offset: bigint;
  readonly outcome: string;
}

const arrivals = fc.record({
  id: fc.oneof(fc.integer({ min: 0, max: ids.length - 1 }), fc.integer({ min: 0, max: 3 })),
  hrv: fc.constantFrom(null, 20, 30, 50, 51),
  sleep_score: fc.constantFrom(null, 60, 80),
  isDeletion: fc.constantFrom(false, false, false, true),
  revision: fc.constantFrom(null, null, 1, 2),
  later: fc.constantFrom(0, 0, 0, 0, 0, 0, dayMs, rememberedMs / 2, rememberedMs + 1),
});

test('every event names event, priority and alerts of the version before, however buckets divide and expire, also where the build before began', () => {
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.array(arrivals, { maxLength: 60 }),
      fc.option(fc.nat(60)),
      (isFull, some, upgradedAt) => {
        let build = new Build();
        const known = new Map<string, Known>();
        const first = ids.map((_, id) => ({ ...some[id], id, later: 0 }));
        const all = [...(isFull ? first : []), ...some];
        let at = receivedAt;
        for (const [
          place,
          { id, hrv = 20, sleep_score = null, isDeletion, revision = null, later },
        ] of all.entries()) {
          if (place === upgradedAt) {
            const state = build.state();
            const buckets = state
              .get('revisions')!
              .map(([key, value, time]): Entry => [key, inLayout3(value), time]);
            build = new Build(state.set('revisions', buckets));
            for (const [name, one] of known)
              known.set(name, {
                ...one,
                last: { ...one.last, alert_ids: [] },
                offset: -1n,
                outcome: '0'.repeat(16),
              });
          }
          at += later;
          const resource_id = ids[id]!;
          const reading =
            isDeletion === true
              ? aDeletion({ resource_id, revision })
              : aReading({ resource_id, revision, hrv, sleep_score });
          const offset = BigInt(place);
          const event = build.send(reading, at, offset);
          const before = known.get(resource_id);
          const isKnown = before !== undefined && at - before.touched <= rememberedMs;
          if (event === undefined) {
            assert.ok(isKnown, 'only what is known can be repeated');
            known.set(resource_id, { ...before, touched: at });
            continue;
          }
          assert.deepEqual(event.supersedes, isKnown ? before.last : null);
          const outcome = outcomeHash(contentHash(reading).slice(0, 16), event);
          known.set(resource_id, { touched: at, last: superseded(event), offset, outcome });
        }
        const buckets = build
          .state()
          .get('revisions')!
          .map(([, bucket]) => bucket)
          // The build before wrote those that nothing has touched since.
          .filter((bucket) => bucket[0] === 4);
        for (const [name, { last, offset, outcome, touched }] of known) {
          if (at - touched > rememberedMs) continue;
          const rows = buckets
            .map((bucket) => ({ bucket, row: findVersion(bucket, shortHash(name)) }))
            // What has expired may stay until its bucket is touched.
            .filter(({ bucket, row }) => row !== -1 && isVersionRemembered(bucket, row, at));
          for (const { bucket, row } of rows) {
            assert.deepEqual(readTold(bucket, row), last);
            assert.equal(readVersion(bucket, row).offset, offset);
            assert.deepEqual(readOutcomes(bucket, row), { version: outcome, told: outcome });
          }
          assert.ok(upgradedAt === null ? rows.length === 1 : rows.length <= 1);
        }
      },
    ),
    { numRuns: 150 },
  );
});
