/** Exit codes of the commands that read or replay the topics. */
export const exitCode = {
  /** Done; for a comparison, no difference. */
  done: 0,
  failed: 1,
  usage: 2,
  /** Only for a comparison. */
  different: 3,
  /** A precondition is not met; the message names it. */
  refused: 4,
  /** Ended by a signal; nothing is half done, and the same command can be run again. */
  interrupted: 130,
} as const;

/** A precondition of a command is not met: nothing was changed. */
export class RefusedCommand extends Error {
  override readonly name = 'RefusedCommand';
}

/** SIGINT or SIGTERM has ended a command. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
  constructor(next = 'run the same command again to go on') {
    super(`interrupted: ${next}`);
  }
}
