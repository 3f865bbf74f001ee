import { readdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

const niceness = constants.priority.PRIORITY_BELOW_NORMAL;

/**
 * Gives this process a lower priority for good: what else runs on the machine goes first. Against a busy process one of its
 * threads gets a tenth of a processor then.
 */
export function yieldToOthers(): void {
  for (const id of threadIds())
    try {
      setPriority(id, niceness);
    } catch {
      // A thread that has ended, or a system that does not allow it and has others to see to that.
    }
}

/**
 * Linux has a priority for each thread, which the threads that it starts inherit. Those of the engine, which collect garbage for all
 * others, are there before any code of ours.
 */
function threadIds(): number[] {
  try {
    return readdirSync('/proc/self/task').map(Number);
  } catch {
    return [0];
  }
}
