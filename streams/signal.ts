/** Wakes whoever waits, once or many times: the one primitive between the fetch loop and the processing loop. */
export class Signal {
  readonly #waiters = new Set<() => void>();

  /** Lets everybody go on who waits now. */
  notify(): void {
    for (const wake of [...this.#waiters]) wake();
  }

  /** Resolves at the next notify, or after `timeoutMs`. Nothing is left of it afterwards, however long nobody notifies. */
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
