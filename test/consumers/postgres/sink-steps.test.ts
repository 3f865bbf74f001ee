import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from 'pg';
import { createSink } from '../../../consumers/postgres/sink.ts';
import { sinkMetrics } from '../../../consumers/postgres/metrics.ts';
import { avroType, type AvroType } from '../../../schemas/avro.ts';
import { biometricEventAvsc } from '../../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../../schemas/codec.ts';
import { RegistryError } from '../../../schemas/registry.ts';
import { anEvent } from '../../schemas/events.ts';
import { capturedLog } from './log.ts';
import { handleFetched } from '../../../kafka/handle.ts';

// No real broker, because it cannot be interrupted at a chosen moment between two steps.
interface Scene {
  steps: string[];
  /** Ends the claim of the sink, as a rebalance does. */
  rebalance(): void;
  /** Runs before the named step. */
  on: Partial<Record<'upsert' | 'commit', () => void>>;
  run(events: number): Promise<void>;
}

const encode = createEncoder(1);

function scene(
  options: {
    assigned?: boolean;
    isRefused?: boolean;
    loadType?: () => Promise<AvroType>;
    stop?: AbortController;
  } = {},
): Scene {
  const steps: string[] = [];
  const on: Scene['on'] = {};
  let isOurs = options.assigned !== false;
  const pool = {
    query: () => {
      on.upsert?.();
      steps.push('upsert');
      return Promise.resolve({ rows: [{ inserted: 1, updated: 0 }] });
    },
  } as unknown as Pool;
  const stop = (options.stop ?? new AbortController()).signal;
  const sink = createSink({
    pool,
    decoder: createDecoder(options.loadType ?? (() => Promise.resolve(avroType(biometricEventAvsc)))),
    metrics: sinkMetrics(),
    log: capturedLog().log,
    stop,
  });
  return {
    steps,
    on,
    rebalance: () => {
      isOurs = false;
    },
    async run(events) {
      const value = encode(anEvent());
      const records = Array.from({ length: events }, (_, index) => ({
        topic: 't',
        partition: 0,
        offset: BigInt(10 + index),
        timestamp: 0,
        key: null,
        value,
        headers: {},
      }));
      // It ends with the marker of a transaction.
      const nextOffset = BigInt(11 + events);
      const bounds = {
        fetchOffset: 10n,
        nextOffset,
        highWatermark: nextOffset,
        lastStableOffset: nextOffset,
      };
      await handleFetched(
        { topic: 't', partition: 0, records, ...bounds },
        {
          handle: sink.handle,
          isCurrent: () => isOurs && !stop.aborted,
          commit: (offset) => {
            on.commit?.();
            steps.push(`commit ${offset}`);
            return Promise.resolve(options.isRefused !== true);
          },
        },
      );
    },
  };
}

test('what was fetched is stored, then committed to its very end', async () => {
  const { run, steps } = scene();
  await run(3);
  assert.deepEqual(steps, ['upsert', 'commit 14']);
});

test('a large batch is stored in chunks of a thousand, each committed before the next', async () => {
  const { run, steps } = scene();
  await run(2001);
  assert.deepEqual(steps, [
    ...['upsert', 'commit 1010'],
    ...['upsert', 'commit 2010'],
    ...['upsert', 'commit 2012'],
  ]);
});

test('a partition that the sink no longer owns is left alone', async () => {
  const { run, steps } = scene({ assigned: false });
  await run(1);
  assert.deepEqual(steps, []);
});

test('a rebalance during the upsert leaves the offset to the new owner', async () => {
  const it = scene();
  it.on.upsert = it.rebalance;
  await it.run(1);
  assert.deepEqual(it.steps, ['upsert']);
});

test('a refused offset leaves the rest to the new owner', async () => {
  const it = scene({ isRefused: true });
  await it.run(2001);
  assert.deepEqual(it.steps, ['upsert', 'commit 1010']);
});

test('markers alone move the position', async () => {
  const it = scene();
  await it.run(0);
  assert.deepEqual(it.steps, ['commit 11']);
});

test('a stopped sink ends after the current chunk', async () => {
  const stop = new AbortController();
  const it = scene({ stop });
  it.on.commit = () => stop.abort();
  await it.run(2500);
  assert.deepEqual(it.steps, ['upsert', 'commit 1010']);
});

test(
  'a registry that is briefly down delays the batch and loses no record',
  { timeout: 20_000 },
  async () => {
    let attempts = 0;
    const it = scene({
      loadType: () => {
        attempts += 1;
        return attempts < 3
          ? Promise.reject(new RegistryError('unreachable', 'down'))
          : Promise.resolve(avroType(biometricEventAvsc));
      },
    });
    await it.run(1);
    assert.equal(attempts, 3);
    assert.deepEqual(it.steps, ['upsert', 'commit 12']);
  },
);
