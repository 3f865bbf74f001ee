/** Wakes its waiters: the only synchronization between the fetch loop and the processing loop. */
export class Signal {
  readonly #waiters = new Set<() => void>();

  /** Wakes every present waiter. */
  notify(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves at the next notify(), or after `timeoutMs`; leaves neither timer nor waiter behind. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiters.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiters.add(wake);
    });
  }
}
