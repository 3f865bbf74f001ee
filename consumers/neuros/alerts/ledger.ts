/**
 * What is remembered of one user's device, and every decision about it: pure functions, so that a store may run them again
 * after a lost race.
 */
import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../../../schemas/biometric-event.ts';
import { compareVersions, type Version } from '../../../schemas/version-order.ts';
import type { Alert } from './alerts.ts';

/** The newest version read of a resource. */
export interface Row {
  readonly version: Version;
  /** Keys of the alerts that it names. */
  readonly names: readonly string[];
  /** Keys of the alerts that earlier versions named and it does not, until they are withdrawn. */
  readonly dropped: readonly string[];
}

/**
 * What the reader has been told of an alert. `open`: nothing yet. `attempted`: an attempt to announce or to withdraw it has
 * begun, and whether that had its effect is unknown. `unknown` exists only where `first` decides: a repetition of an alert
 * whose first is not known here, so an earlier process may have announced it.
 */
export type Status = 'unknown' | 'open' | 'attempted' | 'announced' | 'withdrawn';

/** An attempt under way, of an owner that lives at least until `until` (epoch ms of the store's clock). */
export interface Claim {
  readonly owner: string;
  readonly until: number;
}

export interface AlertState {
  readonly status: Status;
  readonly claim: Claim | null;
  /** Keys of the resources whose row names it. */
  readonly namedBy: readonly string[];
  /** As it was announced last; null before the first attempt. */
  readonly alert: Alert | null;
}

/** The part of a user's ledger that one decision touches. Functions return the same objects where nothing changed. */
export interface Part {
  readonly row: Row | undefined;
  readonly alerts: ReadonlyMap<string, AlertState>;
}

/** What an event means for the ledger. */
export interface Notice {
  readonly version: Version;
  readonly resource: string;
  readonly raised: readonly { readonly key: string; readonly alert: Alert; readonly first: boolean }[];
  /** Keys of the alerts of the version that it supersedes. */
  readonly superseded: readonly string[];
  readonly announce: boolean;
}

/** A step due because of an event. */
export interface Due {
  readonly kind: 'announce' | 'withdraw';
  readonly key: string;
  readonly alert: Alert;
  readonly resource: string;
  readonly version: Version;
  /** It stands as long as any row names the alert, not only its own (see {@link note}). */
  readonly byAnyRow: boolean;
}

/** Who asks for a claim, and how it tells a claim that still stands. */
export interface Claimant {
  readonly owner: string;
  readonly until: number;
  isLive(claim: Claim): boolean;
}

/** The answer to a claim: not due any more, another attempt is under way, or the handler may begin. */
export type Claimed = 'skipped' | 'busy' | { readonly mayBeRepeat: boolean };

/**
 * The key of a user, a resource or an alert in a store. An id is its own key unless a store could not hold it: Postgres
 * takes no NUL and no long key in an index. Different ids have different keys.
 */
export function keyOf(id: string): string {
  if (id.length <= 200 && !id.includes('\0') && !id.startsWith('sha256:')) return id;
  return `sha256:${createHash('sha256').update(id).digest('hex')}`;
}

/** What an event means for the ledger. Two triggers of one alert_id are one alert. */
export function noticeOf(event: BiometricEvent, announce: boolean): Notice {
  const raised = new Map<string, Notice['raised'][number]>();
  for (const alert of event.triggers) {
    const key = keyOf(alert.alert_id);
    const earlier = raised.get(key);
    raised.set(key, { key, alert: earlier?.alert ?? alert, first: alert.first || earlier?.first === true });
  }
  const { generation, revision, raw } = event;
  return {
    version: { generation, revision, raw: { offset: raw.offset } },
    resource: keyOf(event.resource_id),
    raised: [...raised.values()],
    superseded: (event.supersedes?.alert_ids ?? []).map(keyOf),
    announce,
  };
}

/**
 * Takes note of an event and answers the steps that it makes due. An event older than its row makes none. The same version
 * again answers what is still open.
 * @param firstDecides - for a ledger that does not outlive its process. An alert that it does not know is then announced only
 *   if `first` says so. The event that says so announces it even if it is older than its row, as long as a row names it: the
 *   events of those rows may have been read before, as repetitions of an alert that is not known.
 */
export function note(part: Part, notice: Notice, firstDecides: boolean): { part: Part; due: Due[] } {
  const order = part.row === undefined ? 1 : compareVersions(notice.version, part.row.version);
  const noted = order > 0 ? replaceRow(part, notice, firstDecides) : part;
  const next = firstDecides ? noteFirsts(noted, notice) : noted;
  const { resource, version } = notice;
  const isOlder = order < 0;
  const due: Due[] = [];
  if (!isOlder) {
    for (const key of next.row?.dropped ?? []) {
      const state = next.alerts.get(key);
      if (isToWithdraw(state))
        due.push({ kind: 'withdraw', key, alert: state.alert, resource, version, byAnyRow: false });
    }
  }
  if (!notice.announce) return { part: next, due };
  for (const { key, alert, first } of notice.raised) {
    const state = next.alerts.get(key);
    const byAnyRow = firstDecides && first && state?.status !== 'withdrawn';
    const stands = byAnyRow ? isNamed(state) : !isOlder;
    if (isToAnnounce(state) && stands)
      due.push({ kind: 'announce', key, alert, resource, version, byAnyRow });
  }
  return { part: next, due };
}

/** Claims a step for an attempt, if it is still due. From then on the effect may have happened, until it is settled. */
export function claim(part: Part, due: Due, claimant: Claimant): { part: Part; answer: Claimed } {
  const state = part.alerts.get(due.key);
  const isRow = part.row !== undefined && compareVersions(part.row.version, due.version) === 0;
  const stands = due.byAnyRow ? isNamed(state) : isRow;
  const isDue = due.kind === 'announce' ? isToAnnounce(state) : isToWithdraw(state);
  if (!stands || !isDue || state === undefined) return { part, answer: 'skipped' };
  const { owner, until } = claimant;
  if (state.claim !== null && claimant.isLive(state.claim)) return { part, answer: 'busy' };
  const claimed: AlertState = {
    ...state,
    status: 'attempted',
    claim: { owner, until },
    alert: due.kind === 'announce' ? due.alert : state.alert,
  };
  return { part: withAlert(part, due.key, claimed), answer: { mayBeRepeat: state.status === 'attempted' } };
}

/** Extends a claim, if it is still the owner's. */
export function renew(part: Part, key: string, { owner, until }: Claim): Part {
  const state = part.alerts.get(key);
  if (state?.claim?.owner !== owner) return part;
  return withAlert(part, key, { ...state, claim: { owner, until } });
}

/** Stores that the handler has succeeded. Nothing changes when another has taken the claim over, or the user was erased. */
export function settle(part: Part, due: Due, owner: string): Part {
  const state = part.alerts.get(due.key);
  if (state?.claim?.owner !== owner) return part;
  const status = due.kind === 'announce' ? 'announced' : 'withdrawn';
  const next = withAlert(part, due.key, { ...state, status, claim: null });
  if (due.kind === 'announce' || next.row?.dropped.includes(due.key) !== true) return next;
  return { ...next, row: { ...next.row, dropped: without(next.row.dropped, [due.key]) } };
}

/** Ends an attempt that has failed: whoever comes next begins at once. */
export function release(part: Part, due: Due, owner: string): Part {
  const state = part.alerts.get(due.key);
  if (state?.claim?.owner !== owner) return part;
  return withAlert(part, due.key, { ...state, claim: null });
}

function replaceRow(part: Part, notice: Notice, firstDecides: boolean): Part {
  const names = notice.raised.map(({ key }) => key);
  const gone = without(
    [...new Set([...(part.row?.dropped ?? []), ...(part.row?.names ?? []), ...notice.superseded])],
    names,
  );
  const alerts = new Map(part.alerts);
  const unheardOf: AlertState = {
    status: firstDecides ? 'unknown' : 'open',
    claim: null,
    namedBy: [],
    alert: null,
  };
  for (const key of names) {
    const state = alerts.get(key) ?? unheardOf;
    // A new object even when it was named before: the entry counts as touched.
    alerts.set(key, { ...state, namedBy: [...without(state.namedBy, [notice.resource]), notice.resource] });
  }
  for (const key of gone) {
    const state = alerts.get(key);
    if (state?.namedBy.includes(notice.resource) === true)
      alerts.set(key, { ...state, namedBy: without(state.namedBy, [notice.resource]) });
  }
  // An alert that another row names is that row's to drop. One that nobody was told of needs no withdrawal: whatever version
  // could still announce it is older than this row.
  const dropped = gone.filter((key) => isToWithdraw(alerts.get(key)));
  return { row: { version: notice.version, names, dropped }, alerts };
}

// Even an event that announces nothing, because it is stale or no row names its alert, has its firsts noted: nobody announced
// them, and their repetitions say `first: false`.
function noteFirsts(part: Part, notice: Notice): Part {
  let next = part;
  for (const { key, first } of notice.raised) {
    const state = next.alerts.get(key) ?? { status: 'unknown', claim: null, namedBy: [], alert: null };
    if (first && state.status === 'unknown') next = withAlert(next, key, { ...state, status: 'open' });
  }
  return next;
}

function isNamed(state: AlertState | undefined): boolean {
  return state !== undefined && state.namedBy.length > 0;
}

function isToAnnounce(state: AlertState | undefined): state is AlertState {
  return state !== undefined && state.status !== 'announced' && state.status !== 'unknown';
}

// What may have arrived is withdrawn: the withdrawal of something that never arrived is harmless, the contrary is not.
function isToWithdraw(state: AlertState | undefined): state is AlertState & { alert: Alert } {
  if (state === undefined || state.alert === null || isNamed(state)) return false;
  return state.status === 'announced' || state.status === 'attempted';
}

function withAlert(part: Part, key: string, state: AlertState): Part {
  return { ...part, alerts: new Map(part.alerts).set(key, state) };
}

function without(keys: readonly string[], gone: readonly string[]): string[] {
  return keys.filter((key) => !gone.includes(key));
}
