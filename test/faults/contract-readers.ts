/** What reads and writes events in this build and in the release before, each with modules of its own. */
import assert from 'node:assert/strict';
import { pino } from 'pino';
import * as consume from '../../kafka/consume.ts';
import type { KafkaConnection } from '../../kafka/client.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import * as lifecycle from '../../process/lifecycle.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import * as codec from '../../schemas/codec.ts';
import * as contract from '../../schemas/contract.ts';
import * as registries from '../../schemas/registry.ts';
import type { Register } from './application.ts';
import { until } from '../streams/until.ts';
import { ofRelease } from './release-before.ts';

interface Modules {
  readonly consume: typeof consume;
  readonly lifecycle: typeof lifecycle;
  readonly codec: typeof codec;
  readonly contract: typeof contract;
  readonly registries: typeof registries;
}

/** What a build does with the contract. */
export interface Contract {
  readonly register: Register;
  /** Starts a reader in a group of its own, from the beginning of the topics. */
  reader(options: ReaderOptions): Promise<EventReader>;
  /** Encodes an event under the schema that is registered for a topic; with fields that the build knows only. */
  encoder(registry: { SCHEMA_REGISTRY_URL: string }, topic: string): Promise<(event: object) => Buffer>;
}

interface ReaderOptions {
  readonly connection: KafkaConnection;
  readonly registry: { SCHEMA_REGISTRY_URL: string };
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly partitions: number;
}

/** What a reader has read so far. */
export interface EventReader {
  /** By `topic-partition@offset`. */
  readonly events: ReadonlyMap<string, BiometricEvent>;
  /** Records that it was given again. */
  readonly repeated: number;
  /** Waits until it has read so many, and answers them; rejects when it cannot go on. */
  all(count: number): Promise<ReadonlyMap<string, BiometricEvent>>;
  stop(): Promise<void>;
}

/** Of this build. */
export const thisContract: Contract = contractWith({ consume, lifecycle, codec, contract, registries });

/** Of the release that is checked out in `folder`. */
export async function contractOf(folder: string): Promise<Contract> {
  return contractWith({
    consume: await ofRelease(folder, 'kafka/consume.ts'),
    lifecycle: await ofRelease(folder, 'process/lifecycle.ts'),
    codec: await ofRelease(folder, 'schemas/codec.ts'),
    contract: await ofRelease(folder, 'schemas/contract.ts'),
    registries: await ofRelease(folder, 'schemas/registry.ts'),
  });
}

/** As a reader or writer of contract version 1 has an event. */
export function asContract1({ supersedes, ...event }: BiometricEvent): object {
  const before = supersedes && { event_id: supersedes.event_id, priority: supersedes.priority };
  return Object.fromEntries(
    Object.entries({ ...event, supersedes: before }).filter(([name]) => name !== 'generation'),
  );
}

/** `topic-partition@offset` */
export function positionOf({ topic, partition, offset }: Pick<LogRecord, 'topic' | 'partition' | 'offset'>) {
  return `${topic}-${partition}@${offset}`;
}

function contractWith({ consume, lifecycle, codec, contract, registries }: Modules): Contract {
  return {
    register: (registry, prefix) => contract.registerSchemas(registries.schemaRegistry(registry), prefix),
    async encoder(registry, topic) {
      const client = registries.schemaRegistry(registry);
      const id = await contract.lookupSchemaId(client, contract.subjectOf(topic));
      return codec.createEncoder(id) as (event: object) => Buffer;
    },
    async reader({ connection, registry, ...options }) {
      const client = registries.schemaRegistry(registry);
      const decoder = codec.createDecoder((id) => client.typeById(id));
      const events = new Map<string, BiometricEvent>();
      let repeated = 0;
      const handle = async ({ records }: { readonly records: readonly LogRecord[] }): Promise<boolean> => {
        for (const record of records) {
          assert.ok(record.value !== null);
          await decoder.prepare(codec.schemaIdOf(record.value));
          if (events.has(positionOf(record))) repeated += 1;
          events.set(positionOf(record), decoder.decode(record.value));
        }
        return true;
      };
      const log = pino({ level: 'silent' });
      const running = await lifecycle.startService(async (service) => ({
        reader: await consume.startReader(connection, { ...options, concurrency: 2, handle, log }, service),
      }));
      let reason: unknown;
      running.failed.catch((error: unknown) => (reason = error));
      return {
        events,
        get repeated() {
          return repeated;
        },
        async all(count) {
          await until(`${options.groupId} to read ${count} records`, () => {
            if (reason !== undefined) throw reason as Error;
            return events.size >= count || undefined;
          });
          return events;
        },
        stop: () => running.stop(),
      };
    },
  };
}
