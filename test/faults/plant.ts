/** Faults that a build before may have had, planted into the normalizers of a process. */

import { vendors, type VendorName } from '../../vendors/index.ts';
import { isDropped, isPartly, isRejected, reject } from '../../vendors/outcome.ts';
import type { Normalize } from '../../vendors/vendor.ts';

/**
 * `tenfold`: oura's HRV in another unit. `silent`: nothing is made of whoop's webhooks. `unreadable`: a third of terra's
 * users cannot be read. `extra`: a second event of the sleep score is made of each reading of healthkit.
 */
export type Plant = 'tenfold' | 'silent' | 'unreadable' | 'extra';

/** All of them: each is another vendor's. */
export const plants: readonly Plant[] = ['tenfold', 'silent', 'unreadable', 'extra'];

/** Replaces the normalizer of one vendor in this process. */
export function plant(fault: Plant): void {
  if (fault === 'tenfold')
    replace('oura', (normalize) => (payload, record) => {
      const answer = normalize(payload, record);
      if (isDropped(answer) || isRejected(answer) || isPartly(answer)) return answer;
      return answer.map((one) => ('hrv' in one && one.hrv !== null ? { ...one, hrv: one.hrv * 10 } : one));
    });
  if (fault === 'silent') replace('whoop', () => () => []);
  if (fault === 'unreadable')
    replace('terra', (normalize) => (payload, record) => {
      const user = Number(/\d+$/.exec(record.key ?? '')?.[0] ?? 0);
      return user % 12 < 4 ? reject('PLANTED', 'the planted fault') : normalize(payload, record);
    });
  if (fault === 'extra')
    replace('healthkit', (normalize) => (payload, record) => {
      const answer = normalize(payload, record);
      if (isDropped(answer) || isRejected(answer) || isPartly(answer)) return answer;
      const extra = answer
        .filter((one) => 'resource_id' in one)
        .map((one) => ({ ...one, hrv: null, recovery_score: null, resource_id: `${one.resource_id} again` }));
      return [...answer, ...extra];
    });
}

function replace(vendor: VendorName, by: (normalize: Normalize) => Normalize): void {
  const mutable = vendors[vendor] as { normalize: Normalize };
  mutable.normalize = by(mutable.normalize);
}
