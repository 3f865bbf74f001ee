import { idText } from '../../topology/json.ts';
import { schemes } from '../schemes.ts';
import { member, type Vendor } from './vendor.ts';

export const terra: Vendor = {
  schemes: [schemes.terra],
  members: ['user', 'user_id'],
  /** Our own name for the user if Terra was told one, else Terra's; the simple format may name it at the top. */
  userId(body) {
    const user = member(body, 'user');
    return (
      idText(member(user, 'reference_id')) ??
      idText(member(user, 'user_id')) ??
      idText(member(body, 'user_id'))
    );
  },
  keptHeaders: [
    'x-terra-signature',
    'terra-signature',
    'x-terra-trace-id',
    'x-terra-ordering-timestamp',
    'terra-reference',
  ],
};
