/** Stores the records of the priority topics. main.ts starts and stops it. */
import type { Pool } from 'pg';
import type { Logger } from '../../process/log.ts';
import { DecodeError, UnknownSchemaId, type Decoder } from '../../schemas/codec.ts';
import { RegistryError } from '../../schemas/registry.ts';
import type { Chunk, HandleChunk } from '../../kafka/handle.ts';
import { outage, untilBack, type Outage } from '../../kafka/outage.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { DatabaseUnavailable, storeBatch } from './store.ts';
import type { SinkMetrics } from './metrics.ts';
import { rowOf, type Position, type Reject, type Row } from './upsert.ts';

/** The parts of a sink. */
export interface SinkParts {
  readonly pool: Pick<Pool, 'query'>;
  readonly decoder: Decoder;
  readonly metrics: SinkMetrics;
  readonly log: Logger;
  /** Aborted when the sink stops: waits end without an error, and nothing more is committed. */
  readonly stop: AbortSignal;
}

/** Handles records and reports its state. */
export interface Sink {
  /** Stores a chunk; false when the sink stops before the database has stored it. */
  readonly handle: HandleChunk;
  /** `ok`, or the reason why the sink cannot store. */
  state(): string;
}

/**
 * Creates a sink, which decodes a chunk and upserts it in one statement. The statement also sets aside the records that
 * cannot be stored, so that the partition continues. Storing a chunk again changes nothing.
 */
export function createSink(parts: SinkParts): Sink {
  const database = outage('the database', parts.log, (isUp) => parts.metrics.databaseUp.set(isUp ? 1 : 0));
  const registry = outage('the schema registry', parts.log);
  parts.metrics.databaseUp.set(1);
  return {
    async handle(chunk) {
      const decoded = await decodeChunk(parts, chunk, registry);
      return decoded !== undefined && (await store(parts, decoded, database));
    },
    state() {
      if (database.isDown()) return 'the database does not answer';
      return registry.isDown() ? 'the schema registry does not answer' : 'ok';
    },
  };
}

interface Decoded {
  readonly rows: Row[];
  readonly rejects: Reject[];
}

async function decodeChunk(parts: SinkParts, chunk: Chunk, registry: Outage): Promise<Decoded | undefined> {
  const { topic, partition, records } = chunk;
  const decoded: Decoded = { rows: [], rejects: [] };
  for (const record of records) {
    const position = { topic, partition, offset: record.offset };
    let outcome = decodeOne(parts.decoder, record, position);
    if (typeof outcome === 'number') {
      const id = outcome;
      const prepared = await untilBack(() => prepare(parts.decoder, id), {
        outage: registry,
        codeOf: (error) => (error instanceof RegistryError ? error.code : undefined),
        stop: parts.stop,
      });
      if (prepared === undefined) return undefined;
      outcome = prepared.value ? decodeOne(parts.decoder, record, position) : 'unknown_schema';
    }
    if (typeof outcome === 'object') decoded.rows.push(outcome);
    else decoded.rejects.push({ ...position, reason: String(outcome) });
  }
  return decoded;
}

// Returns the row, the reason why there is none, or the id of a schema to load first.
function decodeOne(decoder: Decoder, { value, fault }: LogRecord, position: Position): Row | string | number {
  // One row for the whole batch, at its first offset.
  if (fault !== undefined) return fault.code.toLowerCase();
  if (value === null) return 'no_value';
  try {
    return rowOf(decoder.decode(value), position) ?? 'nul_in_key';
  } catch (error) {
    if (error instanceof UnknownSchemaId) return error.id;
    if (error instanceof DecodeError) return error.code;
    throw error;
  }
}

// False when the registry has no such schema: waiting would block the partition for ever.
async function prepare(decoder: Decoder, id: number): Promise<boolean> {
  try {
    await decoder.prepare(id);
    return true;
  } catch (error) {
    if (error instanceof RegistryError && error.code === 'not_found') return false;
    throw error;
  }
}

// False when the sink stops before the database has stored the batch.
async function store(parts: SinkParts, { rows, rejects }: Decoded, database: Outage): Promise<boolean> {
  const stopTimer = parts.metrics.upsertSeconds.startTimer();
  const done = await untilBack(() => storeBatch(parts.pool, rows, rejects), {
    outage: database,
    codeOf: (error) => (error instanceof DatabaseUnavailable ? error.code : undefined),
    stop: parts.stop,
  });
  if (done === undefined) return false;
  stopTimer();
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
