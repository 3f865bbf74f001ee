import { schemes } from '../signature.ts';
import type { Vendor } from '../vendor.ts';

export const oura: Vendor = {
  schemes: [schemes.oura],
  /** `user_id` of a notification and of the simple format alike. */
  userId: [['user_id']],
  keptHeaders: ['x-oura-signature', 'x-oura-timestamp'],
};
