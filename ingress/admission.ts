/** Admission control: bounds the webhooks processed at once and the bytes of large bodies in memory. */

/**
 * The outcome of waiting: `full` if the queue is at its limit, `late` if no place became free in time, `gone` if the
 * sender left.
 */
export type Turn = 'entered' | 'full' | 'late' | 'gone';

/** Bounds the webhooks processed at once; the others wait in order of arrival. */
export interface AdmissionQueue {
  /** Webhooks that hold a place. */
  readonly inHand: number;
  readonly waiting: number;
  /**
   * Returns at once when a place is free or the queue is full, else resolves when one is, or with the reason why not.
   * After `entered` the caller must `leave`.
   * @param onQueued - called when it has to wait, with a function to call when the sender has left.
   */
  enter(onQueued?: (leave: () => void) => void): Promise<Turn> | Turn;
  leave(): void;
}

/** Creates a queue for `places` webhooks; up to `maxWaiting` more wait, each `maxWaitMs` at most. */
export function createAdmissionQueue(limits: {
  readonly places: number;
  readonly maxWaiting: number;
  readonly maxWaitMs: number;
}): AdmissionQueue {
  let inHand = 0;
  // A Set keeps the order of arrival and lets an entry leave from the middle.
  const queue = new Set<(turn: Turn) => void>();

  return {
    get inHand() {
      return inHand;
    },
    get waiting() {
      return queue.size;
    },
    enter(onQueued) {
      if (inHand < limits.places) {
        inHand += 1;
        return 'entered';
      }
      if (queue.size >= limits.maxWaiting) return 'full';
      return new Promise((resolve) => {
        const timer = setTimeout(() => settle('late'), limits.maxWaitMs);
        function settle(turn: Turn): void {
          if (!queue.delete(settle)) return;
          clearTimeout(timer);
          resolve(turn);
        }
        queue.add(settle);
        onQueued?.(() => settle('gone'));
      });
    },
    leave() {
      const [next] = queue;
      // Hand the place to the next in the queue, so that a newcomer cannot overtake it.
      if (next === undefined) inHand -= 1;
      else next('entered');
    },
  };
}

/** One webhook's share of the budget. */
export interface Lease {
  /** Takes `bytes` more; false, with nothing taken, when the budget cannot cover them. */
  take(bytes: number): boolean;
  /** Returns everything; safe to call more than once. */
  release(): void;
}

/** Bounds the bytes of large bodies in memory. */
export interface ByteBudget {
  readonly taken: number;
  lease(): Lease;
}

/** Creates a budget of `totalBytes`. */
export function createByteBudget(totalBytes: number): ByteBudget {
  let taken = 0;
  return {
    get taken() {
      return taken;
    },
    lease() {
      let mine = 0;
      return {
        take(bytes) {
          if (taken + bytes > totalBytes) return false;
          taken += bytes;
          mine += bytes;
          return true;
        },
        release() {
          taken -= mine;
          mine = 0;
        },
      };
    },
  };
}
