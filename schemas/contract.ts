/** The contract in the registry: registering it, checking it, and finding its ids at run time. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { priorityTopics } from './topics.ts';
import { avroType } from './avro.ts';
import { biometricEventAvsc } from './biometric-event.ts';
import { RegistryError, type SchemaRegistry } from './registry.ts';
import { projectRoot } from '../process/root.ts';

/** Readers may be older or newer than the writer, by any number of versions. */
export const compatibilityLevel = 'FULL_TRANSITIVE';

/** The registry's subjects of a deployment: one for each priority topic, highest first. */
export function subjects(prefix: string): string[] {
  const { HIGH, MEDIUM, NORMAL } = priorityTopics(prefix);
  return [HIGH, MEDIUM, NORMAL].map(subjectOf);
}

/** The subject of a topic's values. */
export function subjectOf(topic: string): string {
  return `${topic}-value`;
}

/** One subject after registering. */
export interface Registered {
  readonly subject: string;
  readonly id: number;
  /** False when the registry had this schema already. */
  readonly isNew: boolean;
}

/**
 * Makes the contract the newest version of every subject. The compatibility rule is set before a version is registered,
 * so that no version ever exists without it. Registering again changes nothing.
 * @throws RegistryError `incompatible` when a subject's rule refuses the schema; nothing was registered for it.
 */
export async function registerSchemas(
  registry: SchemaRegistry,
  prefix: string,
  avsc: string = biometricEventAvsc,
): Promise<Registered[]> {
  const registered: Registered[] = [];
  for (const subject of subjects(prefix)) {
    if ((await registry.compatibility(subject)) !== compatibilityLevel) {
      await registry.setCompatibility(subject, compatibilityLevel);
    }
    const known = await registry.lookupId(subject, avsc);
    registered.push(
      known === undefined
        ? { subject, id: await registry.register(subject, avsc), isNew: true }
        : { subject, id: known, isNew: false },
    );
  }
  return registered;
}

/**
 * Describes how the registry differs from the contract; empty when every subject has the rule and the schema of this
 * version.
 * @throws RegistryError when the registry does not answer.
 */
export async function checkSchemas(
  registry: SchemaRegistry,
  prefix: string,
  avsc: string = biometricEventAvsc,
): Promise<string[]> {
  const faults: string[] = [];
  for (const subject of subjects(prefix)) {
    const level = await registry.compatibility(subject);
    if (level !== compatibilityLevel) {
      const found = level === undefined ? 'no rule of its own' : level;
      faults.push(
        `${subject} has ${found} instead of ${compatibilityLevel}: run \`bridge schemas register\``,
      );
    }
    if ((await registry.lookupId(subject, avsc)) === undefined) {
      const accepted = await registry.wouldAccept(subject, avsc);
      faults.push(
        accepted === false
          ? `${subject} would refuse the schema of this version: change the schema until it is compatible`
          : `${subject} does not have the schema of this version: run \`bridge schemas register\``,
      );
    }
  }
  return faults;
}

/**
 * Looks up the id of the contract under a subject, for encoding. Never registers: that is a step of deployment.
 * @throws RegistryError `not_found`, saying what to run, when the subject has another schema or none; `incompatible` when
 *   its rule would refuse this one.
 */
export async function lookupSchemaId(
  registry: SchemaRegistry,
  subject: string,
  avsc: string = biometricEventAvsc,
): Promise<number> {
  const id = await registry.lookupId(subject, avsc);
  if (id !== undefined) return id;
  if ((await registry.wouldAccept(subject, avsc)) === false) {
    throw new RegistryError(
      'incompatible',
      `the schema registry at ${registry.url} would refuse the schema of this version under ${subject}: ` +
        '`bridge schemas check` compares them; run a version whose schema is compatible',
    );
  }
  throw new RegistryError(
    'not_found',
    `the schema registry at ${registry.url} does not have the schema of this version under ${subject}: ` +
      'run `bridge schemas register`',
  );
}

/** A released version of the contract. */
export interface Version {
  readonly version: number;
  readonly file: string;
  readonly avsc: string;
}

/** The released versions in schemas/history, oldest first. */
export function history(folder: string = join(projectRoot(), 'schemas', 'history')): Version[] {
  return readdirSync(folder)
    .flatMap((file) => {
      const match = /^biometric-event\.v(\d+)\.avsc$/.exec(file);
      return match === null ? [] : [{ version: Number(match[1]), file }];
    })
    .sort((a, b) => a.version - b.version)
    .map((entry) => ({ ...entry, avsc: readFileSync(join(folder, entry.file), 'utf8') }));
}

/**
 * Describes what is wrong between the contract and its history; empty when the newest released version is the contract
 * itself and each version can be read as every other. Needs no registry.
 */
export function checkHistory(
  avsc: string = biometricEventAvsc,
  versions: readonly Version[] = history(),
): string[] {
  const newest = versions.at(-1);
  if (newest === undefined) return ['schemas/history holds no version: copy the schema there as v1'];
  const faults: string[] = [];
  if (!sameJson(newest.avsc, avsc)) {
    faults.push(
      `the schema differs from ${newest.file}: a released version never changes; ` +
        `copy the schema to biometric-event.v${newest.version + 1}.avsc`,
    );
  }
  const all = [...versions, { version: newest.version + 1, file: 'the current schema', avsc }];
  for (const reader of all) {
    for (const writer of all) {
      const reason = unreadable(reader.avsc, writer.avsc);
      if (reason !== undefined)
        faults.push(`${reader.file} cannot read what ${writer.file} wrote: ${reason}`);
    }
  }
  return faults;
}

/** Why values of `writer` cannot be read as `reader` by the rules of Avro; undefined when they can. */
export function unreadable(reader: string, writer: string): string | undefined {
  try {
    avroType(reader).createResolver(avroType(writer));
    return undefined;
  } catch (error) {
    // The message is about schemas only, which are not secret.
    return error instanceof Error ? error.message.slice(0, 300) : 'unknown';
  }
}

function sameJson(a: string, b: string): boolean {
  return JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
}
