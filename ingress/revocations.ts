import type { Logger } from '../process/log.ts';
import { readText } from '../process/text-file.ts';

/** The users whose tokens are refused. */
export interface Revocations {
  isRevoked(userId: string): boolean;
  stop(): void;
}

/**
 * Reads HEALTHKIT_REVOKED_FILE now and again at every SIGHUP. When a later read fails, the list stays as it was and the
 * log says so.
 * @param path - undefined revokes no user and leaves SIGHUP alone.
 * @throws Error when the file cannot be read now.
 */
export function startRevocations(path: string | undefined, log: Pick<Logger, 'info' | 'error'>): Revocations {
  if (path === undefined) return { isRevoked: () => false, stop: () => undefined };
  let users = readRevokedUsers(path);
  log.info({ users: users.size }, 'tokens of revoked users are refused');
  const onHangup = (): void => {
    try {
      users = readRevokedUsers(path);
      log.info({ users: users.size }, 'the list of revoked users was read again');
    } catch (error) {
      log.error(
        { reason: error instanceof Error ? error.message : 'unknown', users: users.size },
        'THE LIST OF REVOKED USERS COULD NOT BE READ AGAIN: the old one stays in force; fix the file and send SIGHUP',
      );
    }
  };
  process.on('SIGHUP', onHangup);
  return {
    isRevoked: (userId) => users.has(userId.trim()),
    stop: () => void process.off('SIGHUP', onHangup),
  };
}

/**
 * Reads the users of a list: one id a line, without surrounding white space; skips blank lines and lines that begin with
 * #.
 * @throws Error with the reason, never with a line of the file.
 */
export function readRevokedUsers(path: string): ReadonlySet<string> {
  let text: string;
  try {
    text = readText(path);
  } catch (error) {
    throw new Error(
      `the file that HEALTHKIT_REVOKED_FILE names ${error instanceof Error ? error.message : 'cannot be read'}`,
      { cause: error },
    );
  }
  // A misread id would stay accepted.
  const lines = text.split(/\r\n|\n|\r/).map((line) => line.trim());
  return new Set(lines.filter((line) => line !== '' && !line.startsWith('#')));
}
