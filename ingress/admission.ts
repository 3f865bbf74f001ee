/** What one webhook has taken of the budget. */
export interface Lease {
  /** Takes `bytes` more; false when the budget has not got them, and then nothing is taken. */
  take(bytes: number): boolean;
  /** Gives everything back; may be called more than once. */
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
