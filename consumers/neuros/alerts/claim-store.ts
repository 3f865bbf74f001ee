/** What claims() asks of a database. */
import type { Part } from './ledger.ts';

/** Whose ledger: a reader's (its group id), of one user of one device. Every part is a key as the ledger makes them. */
export interface LedgerOf {
  readonly reader: string;
  readonly device: string;
  readonly user: string;
}

/** What a decision reads and changes. */
export interface Touched {
  readonly resource: string;
  /** Those that the row of the resource names or has dropped are read besides. */
  readonly alerts: readonly string[];
}

/**
 * A decision: what becomes of the part, and the answer to its caller. `now` is the store's clock, in epoch ms, so that the
 * clocks of the readers' machines do not matter. It may be run again after a lost race, so it must be pure.
 */
export type Change<T> = (part: Part, now: number) => { readonly part: Part; readonly answer: T };

/**
 * A database that keeps ledgers, apart from each other. What was not touched for 70 days goes by itself. Its methods throw
 * AlertStoreUnavailable when the same call may succeed later.
 */
export interface ClaimStore {
  /**
   * Checks that ledgers of this reader can be read and changed.
   * @throws Error with what is missing and what to do.
   */
  start(reader: string): Promise<void>;
  migrate(): Promise<void>;
  /** Reads a part of a ledger, decides, and stores what has changed, all in one. */
  update<T>(ledger: LedgerOf, touched: Touched, change: Change<T>): Promise<T>;
  /** Forgets the ledgers of a user of every device. */
  erase(reader: string, user: string): Promise<void>;
  /** Ends what runs in the background; the database's client belongs to its caller. */
  close(): Promise<void>;
}

/** For how long a row or an alert is kept after it was touched last: a month longer than `first` remembers an alert. */
export const keptDays = 70;
