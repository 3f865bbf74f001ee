/** Admission of webhooks: how many are processed at once, and how many bytes of large bodies are in memory. */

/** The outcome of waiting: `full` the queue is at its length, `late` no place became free in time, `gone` the sender left. */
export type Turn = 'entered' | 'full' | 'late' | 'gone';

/** Bounds how many webhooks are processed at once; the others wait in order. */
export interface AdmissionQueue {
  /** Webhooks that have a place. */
  readonly inHand: number;
  readonly waiting: number;
  /**
   * Answers at once when a place is free, else resolves when one is, or with the reason why there is none. After
   * `entered` the caller must `leave`.
   * @param onQueued - called when it has to wait, with a function to call when the sender has left.
   */
  enter(onQueued?: (leave: () => void) => void): Promise<Turn> | Turn;
  leave(): void;
}

/** A queue for `places` webhooks; up to `maxWaiting` more wait, each `maxWaitMs` at most. */
export function createAdmissionQueue(limits: {
  readonly places: number;
  readonly maxWaiting: number;
  readonly maxWaitMs: number;
}): AdmissionQueue {
  let inHand = 0;
  // A Set keeps the order of arrival, and an entry can leave from the middle.
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
        const timer = setTimeout(() => called('late'), limits.maxWaitMs);
        function called(turn: Turn): void {
          if (!queue.delete(called)) return;
          clearTimeout(timer);
          resolve(turn);
        }
        queue.add(called);
        onQueued?.(() => called('gone'));
      });
    },
    leave() {
      const [next] = queue;
      // The place goes straight to the next in the queue, so that no newcomer slips in between.
      if (next === undefined) inHand -= 1;
      else next('entered');
    },
  };
}

/** The bytes that one webhook has taken of the budget. */
export interface Lease {
  /** Takes `bytes` more; false, and nothing taken, when the budget does not have them. */
  take(bytes: number): boolean;
  /** Returns everything; may be called more than once. */
  release(): void;
}

/** Bounds the bytes of large bodies in memory. */
export interface ByteBudget {
  readonly taken: number;
  lease(): Lease;
}

/** A budget of `totalBytes`. */
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
