import { webhook } from '../vendor.ts';

export const healthkitWebhook = webhook({
  schemes: [
    // A token of the bridge's own, for a phone that can send a fixed header but cannot sign.
    {
      name: 'bearer',
      headers: ['authorization'],
      form: 'bearer',
      algorithm: 'sha256',
      encoding: 'base64url',
      signs: ['user'],
    },
  ],
  secret: 'APPLE_HEALTHKIT_SECRET',
  // A token signs no time: it is valid until it is revoked.
  tolerance: null,
  // An export of the phone names no user, its token does; the simple format names one.
  userId: [['user_id']],
  keptHeaders: ['automation-*', 'session-id'],
  isThin: false,
});
