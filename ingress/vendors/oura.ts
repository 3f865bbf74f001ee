import { idText } from '../../topology/json.ts';
import { schemes } from '../schemes.ts';
import { member, type Vendor } from './vendor.ts';

export const oura: Vendor = {
  schemes: [schemes.oura],
  members: ['user_id'],
  /** `user_id` of a notification and of the simple format alike. */
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['x-oura-signature', 'x-oura-timestamp'],
};
