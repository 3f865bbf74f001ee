/** What the sink does with a batch of a priority topic. Starting and stopping it is main.ts. */
import type { Pool } from 'pg';
import type { Logger } from '../../process/log.ts';
import { DecodeError, UnknownSchemaId, type Decoder } from '../../schemas/codec.ts';
import { RegistryError } from '../../schemas/registry.ts';
import { causes, type EachBatchPayload, type KafkaMessage } from '../../kafka/client.ts';
import type { Membership } from '../membership.ts';
import { outage, untilBack, type Outage } from '../../kafka/consume.ts';
import { DatabaseUnavailable, storeBatch } from '../../postgres/pool.ts';
import type { SinkMetrics } from './metrics.ts';
import { rowOf, type Position, type Reject, type Row } from './upsert.ts';

/** The parts of a sink. */
export interface SinkParts {
  readonly pool: Pick<Pool, 'query'>;
  readonly decoder: Decoder;
  readonly membership: Membership;
  readonly metrics: SinkMetrics;
  readonly log: Logger;
  /** Aborted when the sink is to end: waits end without an error, and nothing more is committed. */
  readonly stop: AbortSignal;
}

/** A sink that works. */
export interface Sink {
  /** The handler for the consumer (no automatic resolve, no automatic commit). */
  eachBatch(payload: EachBatchPayload): Promise<void>;
  /** What keeps the sink from storing, in words; `ok` when nothing does. */
  state(): string;
}

/**
 * Each chunk of a batch goes through, in this order: 1 decode, 2 upsert, 3 commit of its offset, 4 resolve. A crash
 * between any two repeats the chunk, which the upsert does not notice. What cannot be stored is set aside in the
 * same statement as its neighbours are stored, and the partition goes on.
 */
export function createSink(parts: SinkParts): Sink {
  const database = outage('the database', parts.log, (isUp) => parts.metrics.databaseUp.set(isUp ? 1 : 0));
  const registry = outage('the schema registry', parts.log);
  parts.metrics.databaseUp.set(1);
  return {
    state() {
      if (database.isDown()) return 'the database does not answer';
      return registry.isDown() ? 'the schema registry does not answer' : 'ok';
    },
    async eachBatch(payload) {
      const { topic, partition } = payload.batch;
      const claim = parts.membership.claim(topic, partition);
      if (claim === undefined) return;
      const beat = (): Promise<void> => payload.heartbeat();
      const all = chunks(payload.batch.messages);
      for (const [index, messages] of all.entries()) {
        const decoded = await decodeChunk(parts, topic, partition, messages, registry, beat);
        if (decoded === undefined) return;
        if (!(await store(parts, decoded, database, beat))) return;
        if (!claim.isCurrent()) return;
        const last = messages.at(-1)?.offset ?? payload.batch.lastOffset();
        // The end of a batch may be a marker of a transaction, which is no message.
        const end = index === all.length - 1 ? payload.batch.lastOffset() : last;
        const offset = String(BigInt(end) + 1n);
        await payload.commitOffsetsIfNecessary({ topics: [{ topic, partitions: [{ partition, offset }] }] });
        if (!claim.isCurrent()) return;
        payload.resolveOffset(last);
        await beat();
        if (parts.stop.aborted || !payload.isRunning()) return;
      }
    },
  };
}

/** Whether an error came from the client, which knows what to do about it (rejoin, reconnect, restart). */
export function isClientError(error: unknown): boolean {
  return causes(error).some((link) => link.name.startsWith('KafkaJS'));
}

interface Decoded {
  readonly rows: Row[];
  readonly rejects: Reject[];
}

const chunkRecords = 1_000;
const chunkBytes = 8 * 1024 * 1024;

function chunks(messages: readonly KafkaMessage[]): KafkaMessage[][] {
  const all: KafkaMessage[][] = [];
  let current: KafkaMessage[] = [];
  let bytes = 0;
  for (const message of messages) {
    const size = message.value?.length ?? 0;
    if (current.length > 0 && (current.length === chunkRecords || bytes + size > chunkBytes)) {
      all.push(current);
      current = [];
      bytes = 0;
    }
    current.push(message);
    bytes += size;
  }
  if (current.length > 0) all.push(current);
  return all;
}

async function decodeChunk(
  parts: SinkParts,
  topic: string,
  partition: number,
  messages: readonly KafkaMessage[],
  registry: Outage,
  beat: () => Promise<void>,
): Promise<Decoded | undefined> {
  const decoded: Decoded = { rows: [], rejects: [] };
  for (const message of messages) {
    const position = { topic, partition, offset: BigInt(message.offset) };
    let outcome = decodeOne(parts.decoder, message.value, position);
    if (typeof outcome === 'number') {
      const id = outcome;
      const prepared = await untilBack(() => prepare(parts.decoder, id), {
        outage: registry,
        codeOf: (error) => (error instanceof RegistryError ? error.code : undefined),
        beat,
        stop: parts.stop,
      });
      if (prepared === undefined) return undefined;
      outcome = prepared.value ? decodeOne(parts.decoder, message.value, position) : 'unknown_schema';
    }
    if (typeof outcome === 'object') decoded.rows.push(outcome);
    else decoded.rejects.push({ ...position, reason: String(outcome) });
  }
  return decoded;
}

// The row; or the reason why there is none; or the id of a schema that has to be loaded first.
function decodeOne(decoder: Decoder, value: Buffer | null, position: Position): Row | string | number {
  if (value === null) return 'no_value';
  try {
    return rowOf(decoder.decode(value), position) ?? 'nul_in_key';
  } catch (error) {
    if (error instanceof UnknownSchemaId) return error.id;
    if (error instanceof DecodeError) return error.code;
    throw error;
  }
}

// False when the registry is there and has no such schema: waiting would stop the partition for ever.
async function prepare(decoder: Decoder, id: number): Promise<boolean> {
  try {
    await decoder.prepare(id);
    return true;
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'not_found') return false;
    throw error;
  }
}

// False when the sink is to end before the database took the batch.
async function store(
  parts: SinkParts,
  { rows, rejects }: Decoded,
  database: Outage,
  beat: () => Promise<void>,
): Promise<boolean> {
  const seconds = parts.metrics.upsertSeconds.startTimer();
  const done = await untilBack(() => storeBatch(parts.pool, rows, rejects), {
    outage: database,
    codeOf: (error) => (error instanceof DatabaseUnavailable ? error.code : undefined),
    beat,
    stop: parts.stop,
  });
  if (done === undefined) return false;
  seconds();
  const { inserted, updated, unchanged } = done.value;
  parts.metrics.events.inc({ result: 'inserted' }, inserted);
  parts.metrics.events.inc({ result: 'updated' }, updated);
  parts.metrics.events.inc({ result: 'unchanged' }, unchanged);
  const now = Date.now();
  for (const { event } of rows)
    parts.metrics.delaySeconds.observe(Math.max(0, now - event.received_at) / 1000);
  for (const { topic, partition, offset, reason } of done.value.rejects) {
    parts.metrics.skipped.inc({ reason });
    parts.log.error(
      { topic, partition, offset: offset.toString(), reason },
      'a record was set aside: see the table sink_rejects',
    );
  }
  return true;
}
