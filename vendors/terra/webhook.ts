import { schemes } from '../signature.ts';
import type { Vendor } from '../vendor.ts';

export const terra: Vendor = {
  schemes: [schemes.terra],
  /** Our own name for the user if Terra was told one, else Terra's; the simple format may name it at the top. */
  userId: [['user', 'reference_id'], ['user', 'user_id'], ['user_id']],
  keptHeaders: [
    'x-terra-signature',
    'terra-signature',
    'x-terra-trace-id',
    'x-terra-ordering-timestamp',
    'terra-reference',
  ],
};
