import { idText } from '../../topology/json.ts';
import { member, type Vendor } from './vendor.ts';

export const healthkit: Vendor = {
  /** Exports of the phone carry a bearer token instead of a signature; its check belongs here; so far plain only. */
  schemes: [],
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['automation-*', 'session-id'],
};
