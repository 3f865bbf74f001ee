import { linkSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { StackError } from './errors.ts';
import { livePid, pidFileNote, writePidFile } from './processes.ts';

/**
 * Takes the stack of a directory for this process, until `release`. One process at a time starts, uses as its own,
 * or ends a stack; a lock whose owner is dead is taken over.
 * @param owner - what the user started, for the message that others get: `npm start`.
 * @throws StackError STACK_RUNNING naming the live owner.
 */
export function takeLock(directory: string, owner: string): { release(): void } {
  mkdirSync(directory, { recursive: true });
  const lock = lockFile(directory);
  const mine = `${lock}.${process.pid}`;
  writePidFile(mine, process.pid, owner);
  try {
    // A link fails when its name is taken, in one step: of two takers one wins.
    while (!linked(mine, lock)) {
      const other = lockOwner(directory);
      if (other !== undefined) throw running(directory, other);
      const stale = `${mine}.stale`;
      try {
        renameSync(lock, stale);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
        throw error;
      }
      // Somebody may have taken it over between the look and the rename: then it is theirs.
      if (livePid(stale) !== undefined) linked(stale, lock);
      rmSync(stale, { force: true });
    }
  } finally {
    rmSync(mine, { force: true });
  }
  return {
    release() {
      if (livePid(lock) === process.pid) rmSync(lock, { force: true });
    },
  };
}

/** Who holds the lock of a directory now, in words: `npm start (pid 4711)`. */
export function lockOwner(directory: string): string | undefined {
  const pid = livePid(lockFile(directory));
  return pid === undefined ? undefined : `${pidFileNote(lockFile(directory))} (pid ${pid})`;
}

function running(directory: string, owner: string): StackError {
  return new StackError(
    'STACK_RUNNING',
    `the local stack in ${directory} is in use by ${owner}. End that one first (Ctrl-C in its terminal), ` +
      'or set LOCAL_DIRECTORY and the LOCAL_…_PORT variables for a second stack.',
  );
}

function lockFile(directory: string): string {
  return join(directory, 'lock');
}

function linked(existing: string, path: string): boolean {
  try {
    linkSync(existing, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}
