/** Packs a copy of the clone, because npm pack changes package.json while it runs, and installs the tarball elsewhere. */
import { execFile, type ExecFileException } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from '../../process/root.ts';

/** What `npm pack --json` answers. */
export interface Tarball {
  readonly filename: string;
  /** In bytes. */
  readonly size: number;
  readonly files: readonly { readonly path: string; readonly size: number }[];
}

/** Copies the sources, with the packages of the clone; kafkajs itself, which goes into the tarball, is copied. */
export function copyClone(folder: string): void {
  const root = projectRoot();
  const left = new Set(['.git', '.local', 'dist', 'node_modules'].map((name) => join(root, name)));
  cpSync(root, folder, { recursive: true, filter: (path) => !left.has(path) });
  const packages = join(folder, 'node_modules');
  mkdirSync(packages);
  for (const name of readdirSync(join(root, 'node_modules'))) {
    const from = join(root, 'node_modules', name);
    if (name === 'kafkajs') cpSync(from, join(packages, name), { recursive: true });
    else if (name !== '.package-lock.json') symlinkSync(from, join(packages, name));
  }
}

/** Makes the tarball in a copy of the clone. */
export async function pack(copy: string): Promise<Tarball> {
  const [tarball] = JSON.parse(await run('npm', ['pack', '--json'], copy)) as Tarball[];
  if (tarball === undefined) throw new Error('npm pack made no tarball');
  return tarball;
}

/** Makes a project of a user, with nothing but what is named. */
export async function projectWith(
  folder: string,
  packages: readonly string[],
  ...options: string[]
): Promise<void> {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'reader', type: 'module' }));
  await run(
    'npm',
    ['install', '--prefer-offline', '--no-audit', '--no-fund', ...options, ...packages],
    folder,
  );
}

/**
 * What a program prints on standard output.
 * @throws Error with all that it printed, when it fails.
 */
export function run(
  program: string,
  args: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const done = (error: ExecFileException | null, stdout: string, stderr: string): void => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${program} ${args.join(' ')} fails:\n${stdout}\n${stderr}`));
    };
    execFile(program, args, { cwd, env: { ...userEnv, ...env }, timeout: 120_000 }, done);
  });
}

/** Without what the npm that runs the tests says of this clone, and how much it prints. */
const userEnv = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) =>
      !/^npm_(?!config_)|^npm_config_(local_prefix|prefix|loglevel|ignore_scripts)$|^NODE_OPTIONS$/.test(
        name,
      ),
  ),
);
