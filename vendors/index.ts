import type { Device } from '../kafka/topics.ts';
import { healthkit } from './healthkit/webhook.ts';
import { oura } from './oura/webhook.ts';
import { terra } from './terra/webhook.ts';
import type { Vendor } from './vendor.ts';
import { whoop } from './whoop/webhook.ts';

export const vendors: Readonly<Record<Device, Vendor>> = {
  oura,
  whoop,
  terra,
  healthkit,
};
