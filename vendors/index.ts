import type { DeviceType } from '../schemas/biometric-event.ts';
import { normalizeHealthkit } from './healthkit/normalize.ts';
import { healthkitWebhook } from './healthkit/webhook.ts';
import { normalizeOura } from './oura/normalize.ts';
import { ouraWebhook } from './oura/webhook.ts';
import { normalizeTerra } from './terra/normalize.ts';
import { terraWebhook } from './terra/webhook.ts';
import type { Vendor } from './vendor.ts';
import { normalizeWhoop } from './whoop/normalize.ts';
import { whoopWebhook } from './whoop/webhook.ts';

/**
 * Every vendor, and the only list of them. A name is the vendor's route and raw topic, and a symbol of the contract's
 * DeviceType. Code says vendor; the wire says device (`device_type` of an event, `device` of an answer or a metric).
 */
export const vendors = {
  oura: { webhook: ouraWebhook, normalize: normalizeOura },
  whoop: { webhook: whoopWebhook, normalize: normalizeWhoop },
  terra: { webhook: terraWebhook, normalize: normalizeTerra },
  healthkit: { webhook: healthkitWebhook, normalize: normalizeHealthkit },
} as const satisfies Readonly<Partial<Record<Exclude<DeviceType, 'unknown'>, Vendor>>>;

export type VendorName = keyof typeof vendors;
export const vendorNames = Object.keys(vendors) as VendorName[];

/** One value for each vendor. */
export function byVendor<T>(valueOf: (vendor: VendorName) => T): Readonly<Record<VendorName, T>> {
  return Object.fromEntries(vendorNames.map((vendor) => [vendor, valueOf(vendor)])) as Record<VendorName, T>;
}
