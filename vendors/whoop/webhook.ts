import { schemes } from '../signature.ts';
import type { Vendor } from '../vendor.ts';

export const whoop: Vendor = {
  schemes: [schemes.whoop],
  /** A 64-bit number in WHOOP's own webhooks. */
  userId: [['user_id']],
  keptHeaders: ['x-whoop-signature', 'x-whoop-signature-timestamp'],
};
