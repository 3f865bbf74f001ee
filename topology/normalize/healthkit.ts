import type { RawMeta, Reading } from '../reading.ts';
import { drop, type Dropped, type Rejected } from '../streams/index.ts';
import { normalizeSimple, type Payload } from './simple.ts';

/** Health Auto Export puts everything under `data`; such exports are not read yet. */
export function normalizeHealthkit(payload: Payload, meta: RawMeta): Reading[] | Dropped | Rejected {
  if ('data' in payload) return drop('unknown');
  return normalizeSimple(payload, meta);
}
