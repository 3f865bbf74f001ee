import type { RawMeta, Reading } from '../reading.ts';
import { drop, type Dropped, type Rejected } from '../streams/index.ts';
import { normalizeSimple, type Payload } from './simple.ts';

/**
 * Oura's webhooks are thin: they name an object and carry no measurement, so they yield no event and are no error.
 * Fetched documents come later, in the collector's envelope, which is not read yet.
 */
export function normalizeOura(payload: Payload, meta: RawMeta): Reading[] | Dropped | Rejected {
  if (meta.isEnvelope) return drop('unknown');
  if ('event_type' in payload || 'data_type' in payload) return drop('notification');
  return normalizeSimple(payload, meta);
}
