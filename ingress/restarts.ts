/** How a worker that ends by itself is replaced. */
const restart = {
  /** After a worker that served for a while; doubled for each that did not. */
  firstDelayMs: 100,
  longestDelayMs: 2_000,
  /** A worker that ends sooner after it listens is not worth restarting at once. */
  youngMs: 5_000,
  /** After this many young workers in a row, another will not do better. */
  givesUpAfter: 10,
} as const;

/** Counts the workers in a row that ended before they were of use. */
export class Restarts {
  #young = 0;

  /**
   * Takes note of a worker that has ended.
   * @param servedMs - since it listened; undefined when it never did. The time of its start does not count: on a slow machine
   *   it is longer than any worker has to live.
   * @returns the pause in ms before another is started, or undefined when none should be.
   */
  afterOneThatServed(servedMs: number | undefined): number | undefined {
    this.#young = servedMs === undefined || servedMs < restart.youngMs ? this.#young + 1 : 0;
    if (this.#young >= restart.givesUpAfter) return undefined;
    return Math.min(restart.longestDelayMs, restart.firstDelayMs * 2 ** Math.max(0, this.#young - 1));
  }

  /** So many ended young, one after the other. */
  get young(): number {
    return this.#young;
  }
}
