import type pg from 'pg';
import { databaseErrorCode } from '../../postgres/pool.ts';
import { newestRows, upsertParameters, upsertStatement } from './upsert.ts';
import type { Reject, Row, UpsertCounts } from './upsert.ts';

/** The database cannot store now: it is down, full, locked or not migrated. */
export class DatabaseUnavailable extends Error {
  override readonly name = 'DatabaseUnavailable';
  /** SQLSTATE, or the system's name for the network error; safe to log. */
  readonly code: string;
  constructor(code: string) {
    super(`the database did not take a batch (${code})`);
    this.code = code;
  }
}

/** The outcome of a batch. */
export interface Stored extends UpsertCounts {
  /** Rows that were already stored, or older than the stored version. */
  readonly unchanged: number;
  /** All records set aside, those passed in included. */
  readonly rejects: readonly Reject[];
}

/**
 * Stores a batch in one round trip. When the database refuses its data, bisects it until the faulty rows are isolated,
 * and sets those aside with reason `refused_by_database`. Storing it again changes nothing.
 * @throws DatabaseUnavailable when the same batch can succeed later.
 */
export async function storeBatch(
  pool: Pick<pg.Pool, 'query'>,
  rows: readonly Row[],
  rejects: readonly Reject[],
): Promise<Stored> {
  const newest = newestRows(rows);
  const stored = await storeRows(pool, newest, rejects);
  return { ...stored, unchanged: stored.unchanged + rows.length - newest.length };
}

async function storeRows(
  pool: Pick<pg.Pool, 'query'>,
  rows: readonly Row[],
  rejects: readonly Reject[],
): Promise<Stored> {
  try {
    const { rows: answer } = await pool.query<UpsertCounts>(upsertStatement, upsertParameters(rows, rejects));
    const { inserted, updated } = answer[0] ?? { inserted: 0, updated: 0 };
    return { inserted, updated, unchanged: rows.length - inserted - updated, rejects };
  } catch (error) {
    const code = databaseErrorCode(error);
    const [first] = rows;
    if (!isAboutData(code) || first === undefined) throw new DatabaseUnavailable(code);
    if (rows.length === 1) {
      const { topic, partition, offset } = first;
      return storeRows(pool, [], [...rejects, { topic, partition, offset, reason: 'refused_by_database' }]);
    }
    const middle = rows.length >> 1;
    const left = await storeRows(pool, rows.slice(0, middle), rejects);
    const right = await storeRows(pool, rows.slice(middle), []);
    return {
      inserted: left.inserted + right.inserted,
      updated: left.updated + right.updated,
      unchanged: left.unchanged + right.unchanged,
      rejects: [...left.rejects, ...right.rejects],
    };
  }
}

// Data exceptions, violated constraints and program limits (a key too long for its index) are refused however often they
// are tried. https://www.postgresql.org/docs/current/errcodes-appendix.html
function isAboutData(code: string): boolean {
  return /^(22|23|54)[0-9A-Z]{3}$/.test(code);
}
