import { seconds } from '../signature.ts';
import { webhook } from '../vendor.ts';

export const terraWebhook = webhook({
  schemes: [
    {
      name: 'terra',
      // Terra sends its new header and the older one with the same value; the older one may also come alone.
      headers: ['x-terra-signature', 'terra-signature'],
      form: 'fields',
      algorithm: 'sha256',
      encoding: 'hex',
      signs: ['timestamp', { text: '.' }, 'body'],
      timestamp: { unitMsByDigits: seconds, toleranceS: 90_000 },
    },
  ],
  secret: 'TERRA_WEBHOOK_SECRET',
  tolerance: 'TERRA_SIGNATURE_TOLERANCE_S',
  // The caller's own name for the user, if Terra knows it, else Terra's; the simple format may name it at the top.
  userId: [['user', 'reference_id'], ['user', 'user_id'], ['user_id']],
  keptHeaders: [
    'x-terra-signature',
    'terra-signature',
    'x-terra-trace-id',
    'x-terra-ordering-timestamp',
    'terra-reference',
  ],
  isThin: false,
});
