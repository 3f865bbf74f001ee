import { idText } from '../../topology/json.ts';
import { schemes } from '../schemes.ts';
import { member, type Vendor } from './vendor.ts';

export const whoop: Vendor = {
  schemes: [schemes.whoop],
  members: ['user_id'],
  /** A 64-bit number in WHOOP's own webhooks. */
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['x-whoop-signature', 'x-whoop-signature-timestamp'],
};
