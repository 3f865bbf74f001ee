import type { RawMeta, Reading } from '../reading.ts';
import { drop, type Dropped, type Rejected } from '../streams/index.ts';
import { normalizeSimple, type Payload } from './simple.ts';

/** Terra's control events: a connection made, lost or changed, or news about a large request. They have no data. */
const controlTypes = new Set([
  'auth',
  'auth_cancelled',
  'deauth',
  'access_revoked',
  'connection_error',
  'permission_change',
  'user_reauth',
  'large_request_processing',
  'large_request_sending',
  's3_payload',
  's3_upload',
  'processing',
  'rate_limit_hit',
  'google_no_datasource',
  'healthcheck',
]);

/** Terra's own payloads name their `type`; of these, data payloads are not read yet. */
export function normalizeTerra(payload: Payload, meta: RawMeta): Reading[] | Dropped | Rejected {
  if (typeof payload['type'] === 'string')
    return drop(controlTypes.has(payload['type']) ? 'control' : 'unknown');
  return normalizeSimple(payload, meta);
}
