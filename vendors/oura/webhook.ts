import { milliseconds, seconds } from '../signature.ts';
import { webhook } from '../vendor.ts';

export const ouraWebhook = webhook({
  schemes: [
    {
      name: 'oura',
      headers: ['x-oura-signature'],
      form: 'digest',
      algorithm: 'sha256',
      encoding: 'hex',
      signs: ['timestamp', 'body'],
      timestamp: {
        header: 'x-oura-timestamp',
        // Oura does not name the unit: captured deliveries carry milliseconds, public verifiers assume seconds.
        unitMsByDigits: { ...seconds, ...milliseconds },
        toleranceS: 4_500,
      },
    },
  ],
  secret: 'OURA_WEBHOOK_SECRET',
  tolerance: 'OURA_SIGNATURE_TOLERANCE_S',
  // The same in notifications and in the simple format.
  userId: [['user_id']],
  keptHeaders: ['x-oura-signature', 'x-oura-timestamp'],
  isThin: true,
});
