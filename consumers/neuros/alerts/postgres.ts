/** Claims in Postgres. */
import { setTimeout as sleep } from 'node:timers/promises';
import { AlertsBusy, type SqlClient } from './alerts.ts';
import { deviceTypes } from '../../../schemas/biometric-event.ts';
import { keptDays, type ClaimStore, type LedgerOf, type Touched } from './claim-store.ts';
import type { AlertState, Part, Status } from './ledger.ts';
import {
  beginTransaction,
  checkTables,
  commit,
  migrate,
  NotTheStore,
  quotedSchema,
  statement,
  withConnection,
  type SqlOptions,
} from './sql.ts';

/**
 * Keeps claims in tables `neuros_*` of a schema. The promise of claims() holds as long as a commit does: `synchronous_commit`
 * must not be off, and a standby that takes over must be a synchronous one.
 */
export function postgresStore({ pool, schema = 'neuros' }: SqlOptions): ClaimStore {
  const tables = ledgerTables(schema);
  const sweep = sweeper({ pool, schema });
  return {
    start: () => checkTables(pool, schema),
    migrate: () => migrate(pool, schema),
    async update(ledger, touched, change) {
      const answer = await whenUnlocked(() =>
        withConnection(pool, async (connection) => {
          await beginTransaction(connection);
          const { isLocked, part, now } = await tables.lock(connection, ledger, touched);
          if (!isLocked) {
            await statement(connection, 'ROLLBACK');
            return undefined;
          }
          const changed = pure(() => change(part, now));
          await tables.write(connection, ledger, touched, { before: part, after: changed.part });
          await commit(connection);
          return changed;
        }),
      );
      sweep.maybe();
      return answer.answer;
    },
    async erase(reader, user) {
      await whenUnlocked(() =>
        withConnection(pool, async (connection) => {
          await beginTransaction(connection);
          const isErased = await tables.erase(connection, reader, user);
          await commit(connection);
          return isErased ? true : undefined;
        }),
      );
    },
    close: () => sweep.close(),
  };
}

/** Reads and writes ledgers inside a transaction. */
export interface LedgerTables {
  /** Locks the ledger until the transaction ends, if nobody else has it, and reads a part. */
  lock(
    client: SqlClient,
    ledger: LedgerOf,
    touched: Touched,
  ): Promise<{ readonly isLocked: boolean; readonly part: Part; readonly now: number }>;
  write(
    client: SqlClient,
    ledger: LedgerOf,
    touched: Touched,
    change: { readonly before: Part; readonly after: Part },
  ): Promise<void>;
  /** False when somebody else has a ledger of the user. */
  erase(client: SqlClient, reader: string, user: string): Promise<boolean>;
}

/** For how long one waits here for another who has the user's ledger: longer than claims() take to decide. */
const lockedMs = 250;

/**
 * Tries until the ledger is free. It holds no connection while it waits, so that those who wait cannot take all connections
 * of the pool from the one they wait for.
 * @throws AlertsBusy after a moment: a handler may take half a minute, and whoever waits for it should not keep a handler's place.
 */
async function whenUnlocked<T>(attempt: () => Promise<T | undefined>): Promise<T> {
  for (let waited = 0, pauseMs = 2; ; waited += pauseMs, pauseMs = Math.min(pauseMs * 2, 200)) {
    const result = await attempt();
    if (result !== undefined) return result;
    if (waited >= lockedMs) throw new AlertsBusy();
    await sleep(pauseMs);
  }
}

/** An error of a decision is a programmer's, and waiting for the store would not mend it. */
function pure<T>(decide: () => T): T {
  try {
    return decide();
  } catch (error) {
    throw new NotTheStore(error);
  }
}

export function ledgerTables(schema: string): LedgerTables {
  const resources = `${quotedSchema(schema)}.neuros_resources`;
  const alerts = `${quotedSchema(schema)}.neuros_alerts`;
  const ofLedger = 'reader = $1 AND device_type = $2 AND user_id = $3';
  const lockSql = `SELECT pg_try_advisory_xact_lock(hashtextextended($1, 4711889005)) AS locked`;
  // As text, because a pool may parse arrays, json and bigint in its own way.
  const readSql = `
WITH resource AS (
  SELECT generation, revision, raw_offset, alert_ids, dropped FROM ${resources} WHERE ${ofLedger} AND resource_id = $4
), named AS (
  SELECT alert_id, status, owner, named_by, alert, floor(extract(epoch FROM lease_until) * 1000) AS lease_until
  FROM ${alerts}
  WHERE ${ofLedger} AND alert_id = ANY ($5::text[] || coalesce((SELECT alert_ids || dropped FROM resource), '{}'))
)
SELECT json_build_object(
  'now', floor(extract(epoch FROM clock_timestamp()) * 1000),
  'resource', (SELECT row_to_json(resource) FROM resource),
  'alerts', (SELECT coalesce(json_agg(named), '[]') FROM named)
)::text AS part`;
  const writeRowSql = `
INSERT INTO ${resources} AS stored
  (reader, device_type, user_id, resource_id, generation, revision, raw_offset, alert_ids, dropped)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (reader, user_id, device_type, resource_id) DO UPDATE
SET generation = excluded.generation, revision = excluded.revision, raw_offset = excluded.raw_offset,
  alert_ids = excluded.alert_ids, dropped = excluded.dropped, touched_on = excluded.touched_on`;
  const writeAlertSql = `
INSERT INTO ${alerts} AS stored (reader, device_type, user_id, alert_id, status, owner, lease_until, named_by, alert)
VALUES ($1, $2, $3, $4, $5, $6, to_timestamp($7::double precision / 1000), $8, $9::json)
ON CONFLICT (reader, user_id, device_type, alert_id) DO UPDATE
SET status = excluded.status, owner = excluded.owner, lease_until = excluded.lease_until, named_by = excluded.named_by,
  alert = excluded.alert, touched_on = excluded.touched_on`;
  const isFree = async (client: SqlClient, { reader, device, user }: LedgerOf): Promise<boolean> => {
    const [row] = await statement(client, lockSql, [JSON.stringify([schema, reader, device, user])]);
    return (row as { locked: boolean }).locked;
  };
  return {
    async lock(client, ledger, touched) {
      const { reader, device, user } = ledger;
      const free = { part: { row: undefined, alerts: new Map<string, AlertState>() }, now: 0 };
      if (!(await isFree(client, ledger))) return { isLocked: false, ...free };
      const values = [reader, device, user, touched.resource, touched.alerts];
      const [row] = await statement(client, readSql, values);
      return { isLocked: true, ...partOf(JSON.parse((row as { part: string }).part) as StoredPart) };
    },
    async write(client, { reader, device, user }, { resource }, { before, after }) {
      if (after.row !== undefined && after.row !== before.row) {
        const { version, names, dropped } = after.row;
        const { generation, revision, raw } = version;
        const columns = [reader, device, user, resource, generation, revision, raw.offset, names, dropped];
        await statement(client, writeRowSql, columns);
      }
      for (const [key, state] of after.alerts) {
        if (state === before.alerts.get(key)) continue;
        const { status, claim, namedBy, alert } = state;
        const columns = [reader, device, user, key, status, claim?.owner, claim?.until, namedBy];
        await statement(client, writeAlertSql, [...columns, alert === null ? null : JSON.stringify(alert)]);
      }
    },
    async erase(client, reader, user) {
      for (const device of deviceTypes) if (!(await isFree(client, { reader, device, user }))) return false;
      for (const table of [resources, alerts])
        await statement(client, `DELETE FROM ${table} WHERE reader = $1 AND user_id = $2`, [reader, user]);
      return true;
    },
  };
}

interface StoredPart {
  readonly now: number;
  readonly resource: {
    readonly generation: number;
    readonly revision: number;
    readonly raw_offset: number;
    readonly alert_ids: string[];
    readonly dropped: string[];
  } | null;
  readonly alerts: readonly {
    readonly alert_id: string;
    readonly status: Status;
    readonly owner: string | null;
    readonly lease_until: number | null;
    readonly named_by: string[];
    readonly alert: AlertState['alert'];
  }[];
}

function partOf({ now, resource, alerts }: StoredPart): { part: Part; now: number } {
  const row = resource === null ? undefined : rowOf(resource);
  const states = alerts.map(({ alert_id, status, owner, lease_until, named_by, alert }) => {
    const claim = owner === null ? null : { owner, until: lease_until ?? 0 };
    return [alert_id, { status, claim, namedBy: named_by, alert }] as const;
  });
  return { part: { row, alerts: new Map(states) }, now };
}

function rowOf(resource: NonNullable<StoredPart['resource']>): Part['row'] {
  const { generation, revision, raw_offset, alert_ids, dropped } = resource;
  return { version: { generation, revision, raw: { offset: raw_offset } }, names: alert_ids, dropped };
}

/**
 * Deletes what was not touched for 70 days. It begins with an update, at most once an hour and process, or once a minute while
 * there is more than a page of it, and skips what another process deletes.
 */
function sweeper({ pool, schema = 'neuros' }: SqlOptions): { maybe(): void; close(): Promise<void> } {
  const rowsAPage = 1_000;
  let next = performance.now() + Math.random() * 60_000;
  let sweeping: Promise<void> = Promise.resolve();
  const sweep = async (): Promise<void> => {
    for (const table of ['neuros_resources', 'neuros_alerts']) {
      const sql = `
WITH old AS (
  SELECT ctid FROM ${quotedSchema(schema)}.${table} WHERE touched_on < current_date - ${keptDays}
  LIMIT ${rowsAPage} FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM ${quotedSchema(schema)}.${table} USING old WHERE ${table}.ctid = old.ctid RETURNING 1
)
SELECT count(*)::integer AS count FROM gone`;
      const [row] = await withConnection(pool, (connection) => statement(connection, sql));
      if ((row as { count: number }).count === rowsAPage) next = performance.now() + 60_000;
    }
  };
  return {
    maybe() {
      if (performance.now() < next) return;
      next = performance.now() + 3_600_000;
      // What it could not delete now is deleted another time.
      sweeping = sweep().catch(() => undefined);
    },
    close: () => sweeping,
  };
}
