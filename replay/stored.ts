/** What the Postgres sink has stored of an event. */
import type pg from 'pg';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { compareVersions } from '../schemas/version-order.ts';
import { databaseErrorCode, postgresPool } from '../postgres/pool.ts';
import type { Traced } from './story.ts';

/** A stored version of a resource. */
interface Version {
  readonly event_id: string;
  readonly generation: number;
  readonly revision: number;
  readonly raw: { readonly offset: number };
}

/** How the stored row of a resource compares with one version of it. */
export interface StoredRow {
  readonly row: 'this_version' | 'newer_version' | 'older_version' | 'none';
  /** Of the stored version. */
  readonly eventId: string | undefined;
}

/** The database did not answer. */
export class NoDatabase extends Error {
  override readonly name = 'NoDatabase';
}

/** The sink's table, read only. Close it. */
export class StoredEvents {
  readonly #pool: pg.Pool;

  constructor(url: string) {
    this.#pool = postgresPool(
      { POSTGRES_URL: url, PG_POOL_MIN_SIZE: 0, PG_POOL_MAX_SIZE: 1 },
      'bridge-trace',
    );
  }

  /** The raw record of a stored event; undefined when no row has its id now. @throws NoDatabase */
  async find(eventId: string): Promise<Traced | undefined> {
    const [row] = await this.#query(
      `SELECT raw_topic, raw_partition, raw_offset, user_id, extract(epoch FROM received_at) * 1000 AS received_ms
       FROM biometric_events WHERE event_id = $1 ORDER BY generation DESC LIMIT 1`,
      [eventId],
    );
    if (row === undefined) return undefined;
    return {
      raw: {
        topic: String(row['raw_topic']),
        partition: Number(row['raw_partition']),
        offset: BigInt(String(row['raw_offset'])),
      },
      key: Buffer.from(String(row['user_id'])),
      timestamp: Math.round(Number(row['received_ms'])),
    };
  }

  /** Compares the stored row of an event's resource with the event. @throws NoDatabase */
  async rowOf(event: BiometricEvent): Promise<StoredRow> {
    const { device_type, user_id, resource_id } = event;
    const [row] = await this.#query(
      `SELECT event_id, generation, revision, raw_offset FROM biometric_events
       WHERE device_type = $1 AND user_id = $2 AND resource_id = $3`,
      // An event with this character has no row, because Postgres does not accept it.
      [device_type, user_id.replaceAll('\0', ''), resource_id.replaceAll('\0', '')],
    );
    if (row === undefined) return { row: 'none', eventId: undefined };
    const stored: Version = {
      event_id: String(row['event_id']),
      generation: Number(row['generation']),
      revision: Number(row['revision']),
      raw: { offset: Number(row['raw_offset']) },
    };
    const order = compareVersions(stored, event);
    return {
      row: order === 0 ? 'this_version' : order > 0 ? 'newer_version' : 'older_version',
      eventId: stored.event_id,
    };
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  async #query(text: string, values: readonly string[]): Promise<Record<string, unknown>[]> {
    try {
      const { rows } = await this.#pool.query<Record<string, unknown>>(text, [...values]);
      return rows;
    } catch (error) {
      throw new NoDatabase(`Postgres does not answer (${databaseErrorCode(error)})`, { cause: error });
    }
  }
}
