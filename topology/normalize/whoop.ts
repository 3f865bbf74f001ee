import type { RawMeta, Reading } from '../reading.ts';
import { drop, type Dropped, type Rejected } from '../streams/index.ts';
import { normalizeSimple, type Payload } from './simple.ts';

/**
 * WHOOP's webhooks are thin: they name an object and carry no measurement, so they yield no event and are no error.
 * Fetched documents come later, in the collector's envelope, which is not read yet.
 */
export function normalizeWhoop(payload: Payload, meta: RawMeta): Reading[] | Dropped | Rejected {
  if (meta.isEnvelope) return drop('unknown');
  if ('type' in payload && 'id' in payload) return drop('notification');
  return normalizeSimple(payload, meta);
}
