/** The story of a raw record as text and as JSON. */
import { positionName } from '../replay/reading.ts';
import type { StoredRow } from '../replay/stored.ts';
import type { Story, TracedEvent, TracedRecord } from '../replay/story.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { letterFields, outcomeJson, outcomeLines, instantText, printable } from './letters-text.ts';

interface Told {
  /** Of each event of the story, in the same order; without a database undefined. */
  readonly rows: readonly (StoredRow | undefined)[];
  readonly values: boolean;
}

/** Newer versions that the text names. */
const shownLater = 10;

export function storyText(story: Story, { rows, values }: Told): string {
  const { raw, vendor, record, isProcessed, events, letters, recomputed, retries, later } = story;
  const lines = [
    `raw record ${positionName(raw)} of ${vendor}`,
    ...(record === undefined ? ['  its topic no longer has it'] : recordLines(record)),
    ...events.flatMap((traced, at) => [
      ...eventLines('event', traced, values),
      ...rowLine(rows[at]),
      ...laterLines(traced, later),
    ]),
    ...letters.map(
      ({ position, reason, operator, message }) =>
        `dead letter ${positionName(position)}\n  ${reason} at operator ${operator}: ${message}`,
    ),
    ...retries.map((position) => `appended again as ${positionName(position)}`),
  ];
  if (typeof recomputed === 'string') lines.push(`no event and no dead letter: ${recomputed}`);
  else if (recomputed !== undefined)
    lines.push('no event and no dead letter; this build makes of it', ...outcomeLines(recomputed));
  if (!isProcessed) lines.push('not processed yet');
  return lines.join('\n');
}

function recordLines(record: TracedRecord): string[] {
  const { receivedAt, bytes, headers, namesUser, fault, signature } = record;
  const { retryOf, retriedAt, traceparent } = record;
  const { scheme, secretIndex, result, reason } = signature;
  const then = secretIndex === undefined ? '' : `, verified by secret ${secretIndex} when it was received`;
  const now = {
    verified: 'verified now',
    not_verified: 'NOT verified now,',
    cannot_verify: 'cannot be verified now:',
  };
  if (fault !== undefined) return [`  a batch that cannot be decoded: ${fault}`];
  return [
    `  received   ${instantText(receivedAt)}`,
    `  body       ${bytes === null ? 'none' : `${bytes} bytes`}, ${namesUser ? 'key names its user' : 'key names no user'}`,
    `  headers    ${headers.map(printable).join(', ')}`,
    ...(traceparent === undefined ? [] : [`  trace      ${printable(traceparent)}`]),
    `  signature  scheme ${printable(scheme)}${then}`,
    `             ${now[result]} ${reason}`,
    ...(retryOf === undefined
      ? []
      : [`  retry of   ${printable(retryOf)}, appended again ${retriedAtText(retriedAt)}`]),
  ];
}

function retriedAtText(text: string | undefined): string {
  return text !== undefined && /^\d{1,15}$/.test(text) ? instantText(Number(text)) : 'at an unknown time';
}

function eventLines(
  what: string,
  { position, event, build, correction }: TracedEvent,
  values: boolean,
): string[] {
  const { event_id, resource_id, revision, generation, priority, triggers, supersedes, deleted } = event;
  const raised = triggers.map(({ type, first }) => `${type}${first ? ' (first)' : ''}`).join(', ');
  return [
    `${what} ${positionName(position)}`,
    `  event_id   ${event_id}`,
    `  resource   ${printable(resource_id)}, revision ${revision}${deleted ? ', deleted' : ''}`,
    `  made by    build ${build ?? 'unknown'}, generation ${generation}${correction === undefined ? '' : `, as a correction: ${correction}`}`,
    `  priority   ${priority}, ${raised === '' ? 'no trigger' : `triggers ${raised}`}`,
    ...(supersedes === null ? [] : [`  supersedes ${supersedes.event_id}`]),
    ...(values ? [`  values     ${printable(measured(event))}`] : []),
  ];
}

function rowLine(row: StoredRow | undefined): string[] {
  if (row === undefined) return [];
  const { row: state, eventId } = row;
  const text = {
    this_version: 'holds this version',
    newer_version: `holds a newer version, ${eventId ?? ''}`,
    older_version: `holds an older version, ${eventId ?? ''}`,
    none: 'has no row of this resource',
  }[state];
  return [`  Postgres   ${text}`];
}

function laterLines({ event }: TracedEvent, later: readonly TracedEvent[]): string[] {
  const own = later.filter((one) => one.event.resource_id === event.resource_id);
  const shown = own
    .slice(0, shownLater)
    .map(
      (one) =>
        `  superseded by ${one.event.event_id} at ${positionName(one.position)}, revision ${one.event.revision}`,
    );
  return own.length > shownLater ? [...shown, `  and by ${own.length - shownLater} more`] : shown;
}

/** What was measured, and what compares with it. */
function measured(event: BiometricEvent): Record<string, unknown> {
  const { hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate } = event;
  const { activity_data, baseline, triggers } = event;
  return {
    hrv,
    hrv_sdnn,
    sleep_score,
    recovery_score,
    stress_level,
    resting_heart_rate,
    activity_data,
    baseline,
    triggers: triggers.map(({ type, value, threshold }) => ({ type, value, threshold })),
  };
}

export function storyJson(story: Story, { rows, values }: Told): string {
  const { raw, vendor, record, isProcessed, events, letters, recomputed, retries, later } = story;
  return JSON.stringify({
    raw: positionName(raw),
    device: vendor,
    record: record === undefined ? null : recordJson(record),
    processed: isProcessed,
    events: events.map((traced, at) => ({
      ...eventJson(traced, values),
      ...(rows[at] === undefined ? {} : { postgres: rows[at].row, postgres_event_id: rows[at].eventId }),
    })),
    dead_letters: letters.map(letterFields),
    recomputed:
      recomputed === undefined || typeof recomputed === 'string'
        ? (recomputed ?? null)
        : outcomeJson(recomputed),
    retries: retries.map(positionName),
    later: later.map((traced) => eventJson(traced, values)),
  });
}

function recordJson(record: TracedRecord): Record<string, unknown> {
  const { receivedAt, bytes, headers, namesUser, fault, signature } = record;
  const { retryOf, retriedAt, traceparent } = record;
  const { scheme, secretIndex, result, reason } = signature;
  return {
    received_at: instantText(receivedAt),
    bytes,
    headers,
    names_user: namesUser,
    fault,
    traceparent,
    signature: { scheme, secret: secretIndex, result, reason },
    retry_of: retryOf,
    ...(retryOf === undefined ? {} : { retried_at: retriedAtText(retriedAt) }),
  };
}

function eventJson(
  { position, event, build, correction }: TracedEvent,
  values: boolean,
): Record<string, unknown> {
  const { event_id, resource_id, revision, generation, priority, triggers, supersedes, deleted } = event;
  return {
    event: positionName(position),
    event_id,
    resource_id,
    revision,
    generation,
    deleted,
    build,
    correction,
    priority,
    triggers: triggers.map(({ type, first, alert_id }) => ({ type, first, alert_id })),
    supersedes: supersedes?.event_id ?? null,
    ...(values ? { values: measured(event) } : {}),
  };
}
