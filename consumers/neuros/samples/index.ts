/**
 * `biometric-bridge/neuros/samples`: events of every vendor for the tests of a reader, made by the bridge from payloads in
 * the vendors' formats. events.json next to this file holds them for readers in other languages.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../../process/root.ts';
import type { BiometricEvent, DeviceType } from '../../../schemas/biometric-event.ts';

/** An event and the bytes of it. */
export interface Sample {
  /** The route that the payload came by. */
  readonly vendor: Exclude<DeviceType, 'unknown'>;
  /** Unique among the samples. Several events of one payload, or of several versions of it, are numbered in order. */
  readonly name: string;
  /** What it is an example of. */
  readonly about: string;
  readonly event: BiometricEvent;
  /**
   * The value of its record, in the Confluent wire format. The key is the user id in UTF-8, the topic that of
   * `event.priority`.
   * @param schemaId - the id in front: that of the contract in the registry of the test; by default 1.
   */
  value(schemaId?: number): Buffer;
}

/** The content of events.json. `value` is the record's value in Base64, with `schemaId` in front. */
export interface SampleFile {
  readonly schemaId: number;
  readonly samples: readonly (Omit<Sample, 'value'> & { readonly value: string })[];
}

/** In the order of vendors, and of one vendor in the order in which the bridge wrote them. */
export const samples: readonly Sample[] = read();

/**
 * The sample of a name.
 * @throws Error when there is none, with the names that there are.
 */
export function sample(name: string): Sample {
  const found = samples.find((one) => one.name === name);
  if (found !== undefined) return found;
  throw new Error(`no sample is named ${name}, only ${samples.map((one) => one.name).join(', ')}`);
}

function read(): Sample[] {
  const path = join(projectRoot(), 'consumers', 'neuros', 'samples', 'events.json');
  const file = JSON.parse(readFileSync(path, 'utf8')) as SampleFile;
  return file.samples.map(({ value, ...rest }) => ({
    ...rest,
    value(schemaId = file.schemaId) {
      const bytes = Buffer.from(value, 'base64');
      bytes.writeUInt32BE(schemaId, 1);
      return bytes;
    },
  }));
}
