/** Alerts that are claimed before their handler is called, so that after a crash it is known that it may have been. */
import { randomUUID } from 'node:crypto';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import type { Alerts, AlertStep, StepOutcome } from './alerts.ts';
import { callHandler, type Handler } from './attempt.ts';
import type { Change, ClaimStore, LedgerOf, Touched } from './claim-store.ts';
import {
  claim,
  keyOf,
  note,
  noticeOf,
  release,
  renew,
  settle,
  type Claim,
  type Claimant,
  type Due,
  type Part,
} from './ledger.ts';

/** Options of {@link claims}. */
export interface ClaimsOptions {
  /**
   * For how long a claim stands without being renewed. It is renewed while its handler runs, so this is how long the alert
   * of a crashed reader waits. Default 60,000.
   */
  readonly leaseMs?: number;
}

/**
 * Remembers alerts in a database (`redisStore`, `postgresStore`). An alert is never lost. After a crash, a failed handler or an
 * unanswered write it is handed over again, with `mayBeRepeat: true`. What the store knows decides, not `first`.
 *
 * A process that stands still for longer than the lease inside a handler, and then goes on, may end after another reader's
 * attempt or withdrawal.
 */
export function claims(store: ClaimStore, { leaseMs = 60_000 }: ClaimsOptions = {}): Alerts {
  if (!Number.isInteger(leaseMs) || leaseMs < 1_000)
    throw new RangeError('leaseMs must be a whole number of milliseconds, at least 1,000');
  return claimedAlerts(store, { leaseMs, firstDecides: false });
}

/** Which reader the alerts belong to, from their start on. */
export interface LedgerOwner {
  /**
   * @returns its key.
   * @throws Error when they are another reader's.
   */
  set(reader: string): string;
  /** @throws Error before they are started. */
  get(): string;
}

export function ledgerOwner(): LedgerOwner {
  let owner: string | undefined;
  return {
    set(reader) {
      if (owner !== undefined && owner !== keyOf(reader))
        throw new Error(`these alerts are those of the reader ${owner}: make others for ${reader}`);
      owner = keyOf(reader);
      return owner;
    },
    get() {
      if (owner === undefined) throw new Error('start() the alerts before their use');
      return owner;
    },
  };
}

/** An event's part of a ledger. */
export interface Begun {
  readonly ledger: LedgerOf;
  readonly touched: Touched;
  readonly due: readonly Due[];
}

/** Takes note of an event in a store, and answers the steps due. */
export async function beginIn(
  store: ClaimStore,
  reader: string,
  event: BiometricEvent,
  options: { readonly announce: boolean; readonly firstDecides: boolean },
): Promise<Begun | undefined> {
  // No version before it was published, and it raises nothing: there is nothing to announce or to withdraw, and no older
  // version that its row would have to silence. Most events are such. One that supersedes another needs its row even if
  // neither has alerts, because versions of a resource come by three topics, and one that has may be read after it.
  if (event.triggers.length === 0 && event.supersedes === null) return undefined;
  const notice = noticeOf(event, options.announce);
  const ledger = { reader, device: event.device_type, user: keyOf(event.user_id) };
  const alerts = [...new Set([...notice.raised.map(({ key }) => key), ...notice.superseded])];
  const touched = { resource: notice.resource, alerts };
  const due = await store.update(ledger, touched, (part) => {
    const noted = note(part, notice, options.firstDecides);
    return { part: noted.part, answer: noted.due };
  });
  return {
    ledger,
    touched: { ...touched, alerts: [...new Set([...alerts, ...due.map(({ key }) => key)])] },
    due,
  };
}

/** {@link claims}, also for a store that is lost with its process, where `first` decides and a claim needs no lease. */
export function claimedAlerts(
  store: ClaimStore,
  options: { readonly leaseMs: number | null; readonly firstDecides: boolean },
): Alerts {
  const client: Client = {
    store,
    id: randomUUID(),
    leaseMs: options.leaseMs,
    attempts: 0,
    running: new Set(),
    renewals: new Set(),
  };
  const owner = ledgerOwner();
  return {
    start: async (name) => store.start(owner.set(name)),
    migrate: () => store.migrate(),
    async begin(event, { announce }) {
      const begun = await beginIn(store, owner.get(), event, {
        announce,
        firstDecides: options.firstDecides,
      });
      return begun === undefined ? [] : begun.due.map((due) => claimedStep(client, begun, due));
    },
    erase: (userId) => store.erase(owner.get(), keyOf(userId)),
    async close() {
      for (const timer of client.renewals) clearInterval(timer);
      await store.close();
    },
  };
}

interface Client {
  readonly store: ClaimStore;
  /** The first part of the owner of each of its claims. */
  readonly id: string;
  readonly leaseMs: number | null;
  /** How many it has begun; the second part of an owner. */
  attempts: number;
  /** Owners whose handler runs. A claim of this client without a running handler is what a failed write has left. */
  readonly running: Set<string>;
  readonly renewals: Set<NodeJS.Timeout>;
}

function claimedStep(client: Client, begun: Begun, due: Due): AlertStep {
  const { running } = client;
  const update = <T>(change: Change<T>): Promise<T> =>
    client.store.update(begun.ledger, begun.touched, change);
  const change = (decide: (part: Part, now: number) => Part): Promise<void> =>
    update((part, now) => ({ part: decide(part, now), answer: undefined }));
  let owner = '';
  let hasSucceeded = false;

  async function attempt(
    handler: Handler,
    signal: AbortSignal | undefined,
  ): Promise<StepOutcome | undefined> {
    const claimed = await update((part, now) => claim(part, due, claimantOf(client, owner, now)));
    if (typeof claimed === 'string') return claimed;
    const stopRenewing = keepRenewing(client, (leaseMs) =>
      change((part, now) => renew(part, due.key, { owner, until: now + leaseMs })),
    );
    try {
      await callHandler(() => handler(claimed), signal);
      hasSucceeded = true;
      return undefined;
    } catch (error) {
      // Without it, another attempt of this client begins at once all the same, and that of another reader after the lease.
      await change((part) => release(part, due, owner)).catch(() => undefined);
      throw error;
    } finally {
      await stopRenewing();
    }
  }

  return {
    kind: due.kind,
    alert: due.alert,
    async run(handler, signal) {
      signal?.throwIfAborted();
      if (!hasSucceeded) owner = `${client.id}/${++client.attempts}`;
      running.add(owner);
      try {
        const other = hasSucceeded ? undefined : await attempt(handler, signal);
        if (other !== undefined) return other;
        await change((part) => settle(part, due, owner));
        return 'done';
      } finally {
        running.delete(owner);
      }
    },
    async giveUp() {
      // An alert that is not stored as announced is announced with its repetition. A handler that has succeeded is stored.
      if (owner !== '') await change((part) => (hasSucceeded ? settle : release)(part, due, owner));
    },
  };
}

function claimantOf(client: Client, owner: string, now: number): Claimant {
  const { id, running, leaseMs } = client;
  const until = leaseMs === null ? Number.MAX_SAFE_INTEGER : now + leaseMs;
  const isLive = (claim: Claim): boolean =>
    claim.owner.startsWith(`${id}/`) ? running.has(claim.owner) : claim.until > now;
  return { owner, until, isLive };
}

// A renewal that fails is tried again with the next: two of three may be lost before the lease ends.
function keepRenewing(client: Client, renewOnce: (leaseMs: number) => Promise<void>): () => Promise<void> {
  const { leaseMs, renewals } = client;
  if (leaseMs === null) return () => Promise.resolve();
  let renewing: Promise<void> | undefined;
  const timer = setInterval(() => {
    renewing ??= renewOnce(leaseMs)
      .catch(() => undefined)
      .finally(() => (renewing = undefined));
  }, leaseMs / 3);
  renewals.add(timer);
  return async () => {
    clearInterval(timer);
    renewals.delete(timer);
    await renewing;
  };
}
