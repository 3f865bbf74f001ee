import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pool } from 'pg';
import { createSink } from '../../../consumers/postgres/sink.ts';
import { sinkMetrics } from '../../../consumers/postgres/metrics.ts';
import { avroType, type AvroType } from '../../../schemas/avro.ts';
import { biometricEventAvsc } from '../../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../../schemas/codec.ts';
import { RegistryError } from '../../../schemas/registry.ts';
import type { EachBatchPayload } from '../../../kafka/client.ts';
import { anEvent } from '../../schemas/events.ts';
import { capturedLog } from './log.ts';
import { handleBatch, isClientError, type Membership } from '../../../kafka/consume.ts';

// The real client is not used because it cannot be interrupted at a chosen moment between two steps.
interface Scene {
  steps: string[];
  /** Ends the claim of the sink, as a rebalance does. */
  rebalance(): void;
  /** Runs before the named step. */
  on: Partial<Record<'upsert' | 'commit' | 'heartbeat', () => void>>;
  run(events: number): Promise<void>;
}

const encode = createEncoder(1);

function scene(
  options: { assigned?: boolean; loadType?: () => Promise<AvroType>; stop?: AbortController } = {},
): Scene {
  const steps: string[] = [];
  const on: Scene['on'] = {};
  let generation = 0;
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
  const membership: Membership = {
    isJoined: () => true,
    silentForMs: () => 0,
    claim: () => {
      const claimed = generation;
      return options.assigned === false ? undefined : { isCurrent: () => generation === claimed };
    },
  };
  return {
    steps,
    on,
    rebalance: () => {
      generation += 1;
    },
    run(events) {
      const value = encode(anEvent());
      const messages = Array.from({ length: events }, (_, index) => ({ offset: String(10 + index), value }));
      const payload = {
        // The batch ends with the marker of a transaction.
        batch: { topic: 't', partition: 0, messages, lastOffset: () => String(10 + events) },
        heartbeat: () => {
          on.heartbeat?.();
          return Promise.resolve();
        },
        commitOffsetsIfNecessary: ({ topics }: { topics: { partitions: { offset: string }[] }[] }) => {
          on.commit?.();
          steps.push(`commit ${topics[0]!.partitions[0]!.offset}`);
          return Promise.resolve();
        },
        resolveOffset: (offset: string) => steps.push(`resolve ${offset}`),
        isRunning: () => true,
      } as unknown as EachBatchPayload;
      return handleBatch(payload, membership, stop, sink.handle);
    },
  };
}

test('a batch is stored, then committed to its very end, then resolved', async () => {
  const { run, steps } = scene();
  await run(3);
  assert.deepEqual(steps, ['upsert', 'commit 14', 'resolve 12']);
});

test('a large batch is stored in chunks of a thousand, each committed before the next', async () => {
  const { run, steps } = scene();
  await run(2001);
  assert.deepEqual(steps, [
    ...['upsert', 'commit 1010', 'resolve 1009'],
    ...['upsert', 'commit 2010', 'resolve 2009'],
    ...['upsert', 'commit 2012', 'resolve 2010'],
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

test("a rebalance during the commit leaves the new owner's position alone", async () => {
  const it = scene();
  it.on.commit = it.rebalance;
  await it.run(1);
  assert.deepEqual(it.steps, ['upsert', 'commit 12']);
});

test('a stopped sink ends after the current chunk', async () => {
  const stop = new AbortController();
  const it = scene({ stop });
  it.on.commit = () => stop.abort();
  await it.run(2500);
  assert.deepEqual(it.steps, ['upsert', 'commit 1010', 'resolve 1009']);
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
    assert.deepEqual(it.steps, ['upsert', 'commit 12', 'resolve 10']);
  },
);

test('an error of the client is distinguished from a bug, even when it is wrapped', () => {
  const client = Object.assign(new Error('The group is rebalancing'), { name: 'KafkaJSProtocolError' });
  assert.equal(isClientError(client), true);
  assert.equal(isClientError(new Error('wrapped', { cause: client })), true);
  assert.equal(isClientError(new TypeError('a bug')), false);
});
