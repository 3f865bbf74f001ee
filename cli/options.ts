/** Arguments and options that several commands have. */
import { closeSync, fchmodSync, fstatSync, openSync, writeSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { RefusedCommand } from '../replay/exit.ts';
import { parseInstant } from '../vendors/instant.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';

/** A generation as an argument. */
export function generationOf(text: string): number {
  return wholeNumber(text, 0, 1_000_000);
}

/** Seconds as an option, at most a day. */
export function secondsOf(text: string): number {
  return wholeNumber(text, 1, 86_400);
}

function wholeNumber(text: string, min: number, max: number): number {
  const number = Number(text);
  if (!/^\d{1,7}$/.test(text) || number < min || number > max)
    throw new InvalidArgumentError(`Write a whole number from ${min} to ${max}.`);
  return number;
}

/** Devices as an option, separated by commas. */
export function devicesOf(text: string): readonly VendorName[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.filter((name) => !(vendorNames as readonly string[]).includes(name));
  if (unknown.length > 0)
    throw new InvalidArgumentError(`valid devices, separated by commas: ${vendorNames.join(', ')}`);
  return vendorNames.filter((name) => names.includes(name));
}

/** An instant as an option, epoch ms: a date (UTC), or RFC 3339. */
export function instantOf(text: string): number {
  const isDate = /^\d{4}-\d\d-\d\d([Tt ].*([Zz]|[+-]\d\d:?\d\d))?$/.test(text);
  const instant = isDate ? parseInstant(text) : null;
  if (instant === null)
    throw new InvalidArgumentError('write YYYY-MM-DD, or RFC 3339 with its zone: 2026-11-01T07:30:00Z');
  return instant.epochMs;
}

/** How many things at a time. */
export function countOf(text: string): number {
  const count = Number(text);
  if (!/^\d{1,3}$/.test(text) || count < 1)
    throw new InvalidArgumentError('write a whole number from 1 to 999');
  return count;
}

/** Opens a file for JSON lines. @throws RefusedCommand when it is there and holds something. */
export function openOut(file: string): { write(line: object): void; close(): void } {
  const mode = 0o600;
  let descriptor: number;
  try {
    descriptor = openSync(file, 'a', mode);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
    throw new InvalidArgumentError(`${file} cannot be written (${code})`);
  }
  const stat = fstatSync(descriptor);
  if (!stat.isFile() || stat.size > 0) {
    closeSync(descriptor);
    throw new RefusedCommand(`${file} is not an empty file: name one that does not exist`);
  }
  // One that was there may be open to others.
  fchmodSync(descriptor, mode);
  return {
    write: (line) => {
      writeSync(descriptor, `${JSON.stringify(line)}\n`);
    },
    close: () => closeSync(descriptor),
  };
}
