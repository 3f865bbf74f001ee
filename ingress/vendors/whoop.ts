import { idText } from '../../topology/json.ts';
import { member, type Vendor } from './vendor.ts';

export const whoop: Vendor = {
  /** WHOOP's own scheme (`x-whoop-signature`, base64 over timestamp and body) belongs here; so far plain only. */
  schemes: [],
  /** A 64-bit number in WHOOP's own webhooks. */
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['x-whoop-signature', 'x-whoop-signature-timestamp'],
};
