import type { DeviceType } from '../schemas/biometric-event.ts';
import { healthkitDocuments, normalizeHealthkit } from './healthkit/normalize.ts';
import { healthkitWebhook } from './healthkit/webhook.ts';
import { normalizeOura, ouraDocuments, ouraIgnored } from './oura/normalize.ts';
import { ouraWebhook } from './oura/webhook.ts';
import { terraDocuments } from './terra/data-types.ts';
import { normalizeTerra, terraIgnored } from './terra/normalize.ts';
import { terraWebhook } from './terra/webhook.ts';
import type { Vendor } from './vendor.ts';
import { normalizeWhoop, whoopDocuments } from './whoop/normalize.ts';
import { whoopWebhook } from './whoop/webhook.ts';

/**
 * Every vendor, and the only list of them. A name is the vendor's route and raw topic, and a symbol of the contract's
 * DeviceType. Code says vendor; the wire says device (`device_type` of an event, `device` of an answer or a metric).
 */
export const vendors = {
  oura: { webhook: ouraWebhook, normalize: normalizeOura, documents: ouraDocuments, ignored: ouraIgnored },
  whoop: { webhook: whoopWebhook, normalize: normalizeWhoop, documents: whoopDocuments },
  terra: {
    webhook: terraWebhook,
    normalize: normalizeTerra,
    documents: terraDocuments,
    ignored: terraIgnored,
  },
  healthkit: { webhook: healthkitWebhook, normalize: normalizeHealthkit, documents: healthkitDocuments },
} as const satisfies Readonly<Partial<Record<Exclude<DeviceType, 'unknown'>, Vendor>>>;

export type VendorName = keyof typeof vendors;
export const vendorNames = Object.keys(vendors) as VendorName[];

/** One value for each vendor. */
export function byVendor<T>(valueOf: (vendor: VendorName) => T): Readonly<Record<VendorName, T>> {
  return Object.fromEntries(vendorNames.map((vendor) => [vendor, valueOf(vendor)])) as Record<VendorName, T>;
}
