import { idText } from '../../topology/json.ts';
import { schemes } from '../schemes.ts';
import { member, type Vendor } from './vendor.ts';

export const healthkit: Vendor = {
  schemes: [schemes.bearer],
  members: ['user_id'],
  /** Exports of the phone name no user, their token does; the simple format does. */
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['automation-*', 'session-id'],
};
