import { readdirSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

const niceness = constants.priority.PRIORITY_BELOW_NORMAL;

/**
 * Permanently lowers the priority of this process, so that everything else on the machine goes first. Against a busy
 * process, one of its threads then gets a tenth of a processor.
 */
export function yieldToOthers(): void {
  for (const id of threadIds())
    try {
      setPriority(id, niceness);
    } catch {
      // The thread has ended, or the system does not allow it and manages priorities itself.
    }
}

/**
 * Linux has a priority for each thread, inherited by the threads that it starts. The engine's own threads, which collect
 * garbage for all others, exist before any code of ours runs.
 */
function threadIds(): number[] {
  try {
    return readdirSync('/proc/self/task').map(Number);
  } catch {
    return [0];
  }
}
