/** What a reader of events asks of the place that remembers which alerts were announced, and which must be withdrawn. */
import type { BiometricEvent, Trigger } from '../../../schemas/biometric-event.ts';

/** An alert, as the event that raised it carries it. */
export type Alert = Trigger;

/** The client of a Postgres transaction: what node-postgres' PoolClient has. */
export interface SqlClient {
  query(text: string, values?: unknown[]): Promise<{ rows: unknown[] }>;
}

/** What a handler of an alert is told besides the alert and its event. */
export interface AlertAttempt {
  /**
   * An earlier attempt has begun and may have had its effect: it failed, or its process ended. Use `alert_id` as the key
   * that makes the effect idempotent. To withdraw: or the alert may never have arrived. Never true with transactional().
   */
  readonly mayBeRepeat: boolean;
  /** With transactional(): what is written through it happens exactly once, together with the mark of the alert. */
  readonly transaction?: SqlClient;
}

/**
 * What became of a step: `done` (the handler has succeeded and the mark is stored), `skipped` (it is no longer due: a
 * newer version has been read, or another reader has done it), or `busy` (another reader is at it: ask again later).
 */
export type StepOutcome = 'done' | 'skipped' | 'busy';

/** An alert to announce or to withdraw because of one event. */
export interface AlertStep {
  readonly kind: 'announce' | 'withdraw';
  /** To announce: as the event raises it. To withdraw: as it was announced. */
  readonly alert: Alert;
  /**
   * Hands the alert to `handler` unless that is not due, and stores that it was handed over. After an error the same step
   * can be run again; a handler that has already succeeded is not called again.
   * @param signal - aborted: the attempt has failed, without waiting for the handler. What the handler writes through its
   *   transaction is lost.
   * @throws what the handler throws; the signal's reason; AlertStoreUnavailable when the store cannot say or store it now;
   *   AlertsBusy.
   */
  run(handler: (attempt: AlertAttempt) => Promise<void>, signal?: AbortSignal): Promise<StepOutcome>;
  /**
   * No attempt follows, and the event is set aside: an alert is not announced, so that its repetition will be; a withdrawal
   * is due again with the next version of the resource.
   * @throws AlertStoreUnavailable, AlertsBusy
   */
  giveUp(): Promise<void>;
}

/**
 * Remembers, per resource, the newest version read, by (generation, revision, raw offset), with the alerts it names; and per
 * alert whether it was announced or withdrawn.
 */
export interface Alerts {
  /**
   * Checks that the place can be used, and rejects with what is missing and what to do.
   * @param reader - the group id, with its prefix: readers of different groups share nothing.
   */
  start(reader: string): Promise<void>;
  /** Creates the tables; nothing where there are none. */
  migrate(): Promise<void>;
  /**
   * Takes note of an event. Read again, it answers the steps that are still open; older than another version of its resource
   * it answers none.
   * @param options.announce - whether the event's own alerts are announced: not those of a `stale` one.
   * @returns the steps due: withdrawals first, then announcements in the order of the triggers.
   * @throws AlertStoreUnavailable when the store does not answer now, AlertsBusy.
   */
  begin(event: BiometricEvent, options: { readonly announce: boolean }): Promise<AlertStep[]>;
  /**
   * Forgets a user of every device.
   * @throws AlertStoreUnavailable, AlertsBusy
   */
  erase(userId: string): Promise<void>;
  /** Releases timers. Pools and clients belong to their caller. */
  close(): Promise<void>;
}

/** Another event of the same user is being handled: the same call succeeds once that has ended. */
export class AlertsBusy extends Error {
  override readonly name = 'AlertsBusy';
  constructor() {
    super('the alerts of this user are being handled elsewhere');
  }
}

/** The store does not answer, or not as it should: the same call may succeed later, so the reader holds its position. */
export class AlertStoreUnavailable extends Error {
  override readonly name = 'AlertStoreUnavailable';
  /**
   * SQLSTATE, the first word of what Redis says, or the system's name of the network error; safe to log. There is no
   * `cause`, because the errors of databases quote values.
   */
  readonly code: string;
  constructor(code: string) {
    super(`the alert store does not answer (${code})`);
    this.code = code;
  }
}
