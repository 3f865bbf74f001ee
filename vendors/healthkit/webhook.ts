import { schemes } from '../signature.ts';
import type { Vendor } from '../vendor.ts';

export const healthkit: Vendor = {
  schemes: [schemes.bearer],
  /** Exports of the phone name no user, their token does; the simple format does. */
  userId: [['user_id']],
  keptHeaders: ['automation-*', 'session-id'],
};
