import { priorities, type Priority } from '../../schemas/biometric-event.ts';

/** How many handlers are kept for each priority. */
export type Reserved = Readonly<Record<Priority, number>>;

/**
 * The handlers that may be at work at once. Those reserved for a priority are kept free for it, so that neither a backlog
 * of one priority nor a flood of another makes it wait; the rest serve whoever asks first.
 */
export class Slots {
  readonly #reserved: Reserved;
  #free: number;
  readonly #atWork: Record<Priority, number> = { HIGH: 0, MEDIUM: 0, NORMAL: 0 };

  /** @param concurrency - at least the sum of what is reserved. */
  constructor(concurrency: number, reserved: Reserved) {
    this.#free = concurrency;
    this.#reserved = reserved;
  }

  /** How many handlers of a priority are at work. */
  atWork(priority: Priority): number {
    return this.#atWork[priority];
  }

  /** Takes a handler; false when all that are left are reserved for other priorities. */
  take(priority: Priority): boolean {
    let kept = 0;
    for (const other of priorities)
      if (other !== priority) kept += Math.max(0, this.#reserved[other] - this.#atWork[other]);
    if (this.#free <= kept) return false;
    this.#free -= 1;
    this.#atWork[priority] += 1;
    return true;
  }

  release(priority: Priority): void {
    this.#free += 1;
    this.#atWork[priority] -= 1;
  }
}

/** A quarter of the handlers for HIGH, and one for each other priority: 2, 1 and 1 of 8. */
export function reservedBy(concurrency: number): Reserved {
  return { HIGH: Math.max(1, Math.floor(concurrency / 4)), MEDIUM: 1, NORMAL: 1 };
}
