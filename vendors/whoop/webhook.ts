import { milliseconds } from '../signature.ts';
import { webhook } from '../vendor.ts';

export const whoopWebhook = webhook({
  schemes: [
    {
      name: 'whoop',
      headers: ['x-whoop-signature'],
      form: 'digest',
      algorithm: 'sha256',
      encoding: 'base64',
      signs: ['timestamp', 'body'],
      timestamp: {
        header: 'x-whoop-signature-timestamp',
        unitMsByDigits: milliseconds,
        toleranceS: 4_500,
      },
    },
  ],
  secret: 'WHOOP_WEBHOOK_SECRET',
  tolerance: 'WHOOP_SIGNATURE_TOLERANCE_S',
  // A 64-bit number in WHOOP's own webhooks.
  userId: [['user_id']],
  keptHeaders: ['x-whoop-signature', 'x-whoop-signature-timestamp'],
  isThin: true,
});
