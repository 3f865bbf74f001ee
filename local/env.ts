import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { vendors } from '../vendors/index.ts';
import { projectRoot } from '../process/root.ts';

/** The secrets that a stack makes up for itself, so that `bridge` commands of one clone can sign and verify. */
const secretNames = [
  ...Object.values(vendors).map(({ webhook }) => webhook.secret),
  'OURA_VERIFICATION_TOKEN',
];

/** The directory of this clone's stack: LOCAL_DIRECTORY (relative to the clone), by default `.local`. */
export function stackDirectory(env: NodeJS.ProcessEnv = process.env, directory?: string): string {
  const chosen =
    directory ?? (env['LOCAL_DIRECTORY'] === '' ? undefined : env['LOCAL_DIRECTORY']) ?? '.local';
  return isAbsolute(chosen) ? chosen : join(projectRoot(), chosen);
}

/** The `KEY=value` lines of a stack's `env` file; empty when there is none. */
export function readLocalEnv(directory: string = stackDirectory()): Record<string, string> {
  const file = join(directory, 'env');
  if (!existsSync(file)) return {};
  const values: Record<string, string> = {};
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [, name, value] = /^([A-Z][A-Z0-9_]*)=(.*)$/.exec(line) ?? [];
    if (name !== undefined && value !== undefined) values[name] = value;
  }
  return values;
}

/**
 * `env` on top of what the clone's own stack says: so every command finds the running stack, and every variable
 * can be set otherwise. A variable given as `<NAME>_FILE` counts as given; an empty one as not given. When `env`
 * names other brokers than the stack's, nothing of the stack is taken.
 */
export function withLocalEnv(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const merged: NodeJS.ProcessEnv = { ...env };
  const local = readLocalEnv(stackDirectory(env));
  // Another cluster has a registry, partition counts and secrets of its own.
  const brokers = env['KAFKA_BOOTSTRAP_SERVERS'] ?? '';
  if (brokers !== '' && brokers !== local['KAFKA_BOOTSTRAP_SERVERS']) return merged;
  const given = (name: string): boolean => env[name] !== undefined && env[name] !== '';
  for (const [name, value] of Object.entries(local)) {
    if (!given(name) && !given(`${name}_FILE`)) merged[name] = value;
  }
  return merged;
}

/** Writes the `env` file of a stack, readable by its owner only: it holds secrets. */
export function writeLocalEnv(directory: string, values: Record<string, string>): void {
  const file = join(directory, 'env');
  const aside = `${file}.new`;
  writeFileSync(
    aside,
    Object.entries(values)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
    { mode: 0o600 },
  );
  chmodSync(aside, 0o600);
  renameSync(aside, file);
}

/** The vendors' secrets of a stack: those it has already, and random ones in place of what is missing. */
export function vendorSecrets(directory: string): Record<string, string> {
  const before = readLocalEnv(directory);
  return Object.fromEntries(
    secretNames.map((name) => [name, before[name] ?? randomBytes(24).toString('base64url')]),
  );
}
