/** The order in which the tasks of a process do work that takes memory, and work that readers wait for. */
export class Turns {
  #turn: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  #takeovers = 0;
  readonly #waiting: (() => void)[] = [];

  /** Runs work one after the other: a partition's whole state is in memory meanwhile. Rejects once closed. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(() => {
      // It would open connections again.
      if (this.#isClosed) throw new Error('the process closes');
      return work();
    });
    this.#turn = done.catch(() => undefined);
    return done;
  }

  /** Call the returned function once, when the takeover has ended. */
  beginTakeover(): () => void {
    this.#takeovers += 1;
    return () => {
      this.#takeovers -= 1;
      if (this.#takeovers === 0) for (const go of this.#waiting.splice(0)) go();
    };
  }

  /** Resolves when no takeover is under way: readers wait for those. */
  async takenOver(): Promise<void> {
    while (this.#takeovers > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  close(): void {
    this.#isClosed = true;
  }
}
