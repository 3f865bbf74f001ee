import { idText } from '../../topology/json.ts';
import type { SignatureScheme } from '../verify.ts';
import { member, type Vendor } from './vendor.ts';

/**
 * HMAC-SHA256 with the OAuth client secret over the timestamp's text and the raw body, sent as upper-case hex.
 * Oura documents the timestamp without its unit; captured deliveries carry 13 digits (ms), public verifiers assume
 * 10 (s): both are taken.
 */
export const ouraScheme: SignatureScheme = {
  name: 'oura',
  algorithm: 'sha256',
  signature: { header: 'x-oura-signature', encoding: 'hex' },
  timestamp: { header: 'x-oura-timestamp', unitMsByDigits: { 10: 1_000, 13: 1 } },
  signs: ['timestamp', 'body'],
};

export const oura: Vendor = {
  schemes: [ouraScheme],
  /** `user_id` of a notification and of the simple format alike. */
  userId: (body) => idText(member(body, 'user_id')),
  keptHeaders: ['x-oura-signature', 'x-oura-timestamp'],
};
