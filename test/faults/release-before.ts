/** The release before this one, as a checkout with packages of its own: what a rolling upgrade begins with. */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { projectRoot } from '../../process/root.ts';

/** The last commit that was released. Whoever releases another one moves this on. */
export const releaseBefore = '11eca872efff8b5cdd6b2ced1a882d2987a15333';

const run = promisify(execFile);
const installDeadlineMs = 300_000;

/** Why the tests with the release must be skipped, and what to do; false in a clone that has its commit. */
export function releaseMissing(): string | false {
  const asked = ['-C', projectRoot(), 'cat-file', '-e', `${releaseBefore}^{commit}`];
  if (spawnSync('git', asked, { env: ownEnvironment() }).status === 0) return false;
  return `this clone does not hold commit ${releaseBefore}, the release before: run git fetch --unshallow`;
}

/**
 * Checks the release out into a git worktree in .local/, and has it install its packages and patch its kafkajs, unless an
 * earlier run has. It runs from its sources, as the topology processes of the fault tests do.
 * @returns the folder of the checkout.
 */
export async function checkOutRelease(): Promise<string> {
  const root = projectRoot();
  const folder = join(root, '.local', `release-${releaseBefore.slice(0, 12)}`);
  // Written last: what an interrupted run has left is made anew.
  const ready = join(folder, '.local-ready');
  if (existsSync(ready)) return folder;
  rmSync(folder, { recursive: true, force: true });
  // Forced, because a checkout that was deleted with .local/ may still be registered.
  await git(['worktree', 'add', '--force', '--detach', folder, releaseBefore]);
  await run(process.execPath, [join('local', 'bootstrap.mjs'), 'install'], {
    cwd: folder,
    env: ownEnvironment(),
    timeout: installDeadlineMs,
  });
  writeFileSync(ready, '');
  return folder;

  function git(args: readonly string[]): Promise<unknown> {
    return run('git', ['-C', root, ...args], { env: ownEnvironment() });
  }
}

// A git hook and npm point the programs that they start at their own repository and package.
function ownEnvironment(): NodeJS.ProcessEnv {
  const isForeign = (name: string): boolean =>
    /^GIT_(DIR|WORK_TREE|INDEX_FILE)$|^npm_config_local_prefix$/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isForeign(name)));
}

/** A module of the release, in this process but with the packages of the release; `T` is its type in this build. */
export async function ofRelease<T>(folder: string, path: string): Promise<T> {
  return (await import(pathToFileURL(join(folder, path)).href)) as T;
}
