import type { Device } from '../../topology/topics.ts';
import { healthkit } from './healthkit.ts';
import { oura } from './oura.ts';
import { terra } from './terra.ts';
import type { Vendor } from './vendor.ts';
import { whoop } from './whoop.ts';

export const vendors: Readonly<Record<Device, Vendor>> = {
  oura,
  whoop,
  terra,
  healthkit,
};
