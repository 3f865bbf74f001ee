/** Alerts remembered in this process only. */
import type { Alerts } from './alerts.ts';
import { deviceTypes } from '../../../schemas/biometric-event.ts';
import type { ClaimStore, LedgerOf } from './claim-store.ts';
import { claimedAlerts } from './claims.ts';
import type { AlertState, Part, Row } from './ledger.ts';

/** Options of {@link memory}. */
export interface MemoryOptions {
  /**
   * How many resources and alerts are remembered, of all users together. Those of the users whose events are longest ago go
   * first. Default 500,000, which take some 200 MB.
   */
  readonly maxEntries?: number;
}

/**
 * Remembers alerts without a store, until the process ends. There `first` decides: an alert that is not known is announced if it
 * is the first, or its first was read but not announced. After a restart an alert may be announced again, because its event is
 * read again; one whose handler had not ended may be lost with its event; and what was announced before the restart is not
 * withdrawn.
 */
export function memory({ maxEntries = 500_000 }: MemoryOptions = {}): Alerts {
  if (!Number.isInteger(maxEntries) || maxEntries < 1)
    throw new RangeError('maxEntries must be a whole number, at least 1');
  return claimedAlerts(memoryStore({ maxEntries }), { leaseMs: null, firstDecides: true });
}

interface Ledger {
  readonly rows: Map<string, Row>;
  readonly alerts: Map<string, AlertState>;
}

/** The store under {@link memory}. With `now`, several clients can share it, as they share a database. */
export function memoryStore(options: {
  readonly maxEntries: number;
  readonly now?: () => number;
}): ClaimStore {
  /** The ledger used longest ago first. */
  const ledgers = new Map<string, Ledger>();
  let entries = 0;
  const drop = (key: string): void => {
    const ledger = ledgers.get(key);
    if (ledger === undefined) return;
    ledgers.delete(key);
    entries -= ledger.rows.size + ledger.alerts.size;
  };
  return {
    start: () => Promise.resolve(),
    migrate: () => Promise.resolve(),
    close: () => Promise.resolve(),
    update(of, touched, change) {
      const key = keyOfLedger(of);
      const ledger = ledgers.get(key) ?? { rows: new Map(), alerts: new Map() };
      const part = partOf(ledger, touched.resource, touched.alerts);
      const { part: next, answer } = change(part, options.now?.() ?? 0);
      drop(key);
      store(ledger, touched.resource, part, next);
      // One user alone forgets the entries touched longest ago.
      trim(ledger.rows, options.maxEntries);
      trim(ledger.alerts, options.maxEntries);
      const size = ledger.rows.size + ledger.alerts.size;
      if (size > 0) ledgers.set(key, ledger);
      entries += size;
      for (const oldest of ledgers.keys()) {
        if (entries <= options.maxEntries || oldest === key) break;
        drop(oldest);
      }
      return Promise.resolve(answer);
    },
    erase(reader, user) {
      for (const device of deviceTypes) drop(keyOfLedger({ reader, device, user }));
      return Promise.resolve();
    },
  };
}

function partOf(ledger: Ledger, resource: string, keys: readonly string[]): Part {
  const row = ledger.rows.get(resource);
  const alerts = new Map<string, AlertState>();
  for (const key of [...keys, ...(row?.names ?? []), ...(row?.dropped ?? [])]) {
    const state = ledger.alerts.get(key);
    if (state !== undefined) alerts.set(key, state);
  }
  return { row, alerts };
}

function store(ledger: Ledger, resource: string, before: Part, after: Part): void {
  if (after.row !== undefined && after.row !== before.row) putLast(ledger.rows, resource, after.row);
  for (const [key, state] of after.alerts) {
    if (state !== before.alerts.get(key)) putLast(ledger.alerts, key, state);
  }
}

function putLast<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
}

function trim(map: Map<string, unknown>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}

function keyOfLedger({ reader, device, user }: LedgerOf): string {
  return JSON.stringify([reader, device, user]);
}
