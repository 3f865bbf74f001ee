/** What is done when: one event after the other for each user of a partition, the most urgent priority first. */
import { priorities, type Priority } from '../../schemas/biometric-event.ts';
import { Slots, type Reserved } from './slots.ts';

/** One record to be handled. */
export interface Work {
  /** One attempt; resolves to the pause before the next one in ms, or to undefined once the record is done with. */
  attempt(): Promise<number | undefined>;
  /** Called once, when it is done with. */
  done(): void;
}

/** The works of one user in one partition, in order. */
interface Lane {
  readonly key: string;
  readonly priority: Priority;
  readonly queue: Work[];
  /** Set while it waits for the next attempt of its first work. */
  timer: NodeJS.Timeout | undefined;
}

/**
 * Runs works by lane: the works of a lane one after the other, lanes next to each other, as many as there are slots. A work
 * whose attempt has failed holds up its own lane, and no slot, until its next attempt.
 */
export class Lanes {
  readonly #slots: Slots;
  readonly #lanes = new Map<string, Lane>();
  /** The lanes that could start now, the one that waits longest first. */
  readonly #ready: Record<Priority, Set<Lane>> = { HIGH: new Set(), MEDIUM: new Set(), NORMAL: new Set() };
  readonly #paused = new Set<Priority>();
  /** Those whose group is about to rebalance. */
  readonly #held = new Set<Priority>();
  readonly #running = new Map<Promise<void>, Priority>();
  readonly #onError: (error: unknown) => void;
  #isDraining = false;

  constructor(
    options: { readonly concurrency: number; readonly reserved: Reserved },
    onError: (error: unknown) => void,
  ) {
    this.#slots = new Slots(options.concurrency, options.reserved);
    this.#onError = onError;
  }

  /** @param key - names the lane among those of all partitions. */
  add(priority: Priority, key: string, work: Work): void {
    let lane = this.#lanes.get(key);
    if (lane === undefined) {
      lane = { key, priority, queue: [], timer: undefined };
      this.#lanes.set(key, lane);
      this.#ready[priority].add(lane);
    }
    lane.queue.push(work);
    if (lane.queue.length === 1) this.#start();
  }

  /**
   * Drops the works of the lanes that `isOver` names by their key. A work that is being attempted goes on, and what is
   * added to its lane meanwhile waits for it.
   */
  drop(isOver: (key: string) => boolean): void {
    for (const lane of this.#lanes.values()) {
      if (!isOver(lane.key)) continue;
      const isWaiting = this.#ready[lane.priority].has(lane) || lane.timer !== undefined;
      if (isWaiting) this.#forget(lane);
      else lane.queue.splice(1);
    }
  }

  /** How many handlers of a priority are at work. */
  atWork(priority: Priority): number {
    return this.#slots.atWork(priority);
  }

  /** Starts nothing more of these priorities until resume(). */
  pause(which: readonly Priority[]): void {
    for (const priority of which) this.#paused.add(priority);
  }

  resume(which: readonly Priority[]): void {
    for (const priority of which) this.#paused.delete(priority);
    this.#start();
  }

  isPaused(priority: Priority): boolean {
    return this.#paused.has(priority);
  }

  /** Starts nothing more of a priority until release(), and resolves once nothing of it is being attempted. */
  async hold(priority: Priority): Promise<void> {
    this.#held.add(priority);
    const running = [...this.#running].filter(([, of]) => of === priority);
    await Promise.all(running.map(([run]) => run));
  }

  release(priority: Priority): void {
    this.#held.delete(priority);
    this.#start();
  }

  /** Starts nothing more at all, and resolves once nothing is being attempted. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    await Promise.all(this.#running.keys());
  }

  /** Drops all works, also those that wait for their next attempt. */
  close(): void {
    this.#isDraining = true;
    for (const lane of this.#lanes.values()) this.#forget(lane);
  }

  #start(): void {
    if (this.#isDraining) return;
    for (const priority of priorities) {
      if (this.#paused.has(priority) || this.#held.has(priority)) continue;
      for (const lane of this.#ready[priority]) {
        if (!this.#slots.take(priority)) break;
        this.#ready[priority].delete(lane);
        const running = this.#run(lane)
          .catch(this.#onError)
          .finally(() => {
            this.#running.delete(running);
            this.#slots.release(priority);
            this.#start();
          });
        this.#running.set(running, priority);
      }
    }
  }

  async #run(lane: Lane): Promise<void> {
    const [work] = lane.queue;
    if (work === undefined) return;
    const pauseMs = await work.attempt();
    if (pauseMs === undefined) {
      lane.queue.shift();
      work.done();
      if (lane.queue.length === 0) this.#forget(lane);
      else this.#queue(lane);
      return;
    }
    // Closed meanwhile.
    if (this.#lanes.get(lane.key) !== lane) return;
    lane.timer = setTimeout(() => {
      lane.timer = undefined;
      this.#queue(lane);
      this.#start();
    }, pauseMs);
  }

  #queue(lane: Lane): void {
    if (this.#lanes.get(lane.key) === lane) this.#ready[lane.priority].add(lane);
  }

  #forget(lane: Lane): void {
    clearTimeout(lane.timer);
    lane.timer = undefined;
    this.#ready[lane.priority].delete(lane);
    // A lane that was closed may have a successor.
    if (this.#lanes.get(lane.key) === lane) this.#lanes.delete(lane.key);
  }
}
