/** One `bridge` command. Each lives in its own thin file and is listed in `cli/main.ts`. */
export interface Command {
  /** One line for `bridge --help`. */
  readonly summary: string;
  /** Everything `bridge <command> --help` prints. */
  readonly usage: string;
  /** Runs the command with the arguments after its name; answers the exit code. */
  run(args: string[]): Promise<number>;
}

/** Wrong arguments: `cli/main.ts` prints the message and the usage, and exits with 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
