/** How a webhook came to its turn, or not: `full` the line was at its length, `late` its turn did not come, `gone` the sender left. */
export type Turn = 'entered' | 'full' | 'late' | 'gone';

/** Bounds how many webhooks are in hand at once; the others wait in order. */
export interface WaitingLine {
  readonly inHand: number;
  readonly waiting: number;
  /**
   * Resolves when it is this one's turn, or with the reason why it will not be. Whoever has `entered` must `leave`.
   * @param whenGone - called with a function to call when the sender has left.
   */
  enter(whenGone?: (leave: () => void) => void): Promise<Turn> | Turn;
  leave(): void;
}

/** A line with `places` in hand, `maxWaiting` behind them, each waiting `maxWaitMs` at most. */
export function createWaitingLine(limits: {
  readonly places: number;
  readonly maxWaiting: number;
  readonly maxWaitMs: number;
}): WaitingLine {
  let inHand = 0;
  // A Set keeps the order of arrival and lets anyone step out of the middle.
  const line = new Set<(turn: Turn) => void>();

  return {
    get inHand() {
      return inHand;
    },
    get waiting() {
      return line.size;
    },
    enter(whenGone) {
      if (inHand < limits.places) {
        inHand += 1;
        return 'entered';
      }
      if (line.size >= limits.maxWaiting) return 'full';
      return new Promise((resolve) => {
        const timer = setTimeout(() => called('late'), limits.maxWaitMs);
        function called(turn: Turn): void {
          if (!line.delete(called)) return;
          clearTimeout(timer);
          resolve(turn);
        }
        line.add(called);
        whenGone?.(() => called('gone'));
      });
    },
    leave() {
      const [next] = line;
      // The place goes to the next in line without ever being free, so that no newcomer slips in between.
      if (next === undefined) inHand -= 1;
      else next('entered');
    },
  };
}
