import { createHash } from 'node:crypto';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { keptHeaderBytes, lastValue, rawHeader, type RecordHeaders } from '../schemas/raw-record.ts';
import type { OutputHeaders, RecordContext } from '../streams/index.ts';
import type { TriggerRule } from './triggers.ts';

const noTriggers = '{"triggers":[]}';

/**
 * The headers of a priority topic's record: what a consumer can decide on without decoding the value, and the trace that its
 * webhook belongs to.
 */
export function eventHeaders(
  build: string,
): (event: BiometricEvent, record: Pick<RecordContext, 'headers'>) => OutputHeaders {
  return (event, { headers }) => ({
    priority: event.priority,
    user_id: event.user_id,
    device_type: event.device_type,
    triggers: event.triggers.length === 0 ? noTriggers : JSON.stringify({ triggers: event.triggers }),
    event_id: event.event_id,
    measured_at: String(event.timestamp),
    build,
    generation: String(event.generation),
    ...traceparent(headers),
  });
}

/** The last value of a raw record's header `traceparent`; none if that is longer than the ingress ever keeps. */
function traceparent(headers: RecordHeaders): { readonly traceparent?: string | Buffer } {
  const value = lastValue(headers, rawHeader.traceparent);
  return value === undefined || value.length > keptHeaderBytes ? {} : { traceparent: value };
}

/** Identifies what made an event: 16 hex digits of a hash over code version, rules and the schema's id. */
export function buildId(parts: { version: string; rules: readonly TriggerRule[]; schemaId: number }): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 16);
}
