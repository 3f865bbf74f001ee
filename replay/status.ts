import { dayMs } from '../vendors/instant.ts';
import type { Differences } from '../topology/promotion.ts';
import type { Generations, TaskProgress } from './generations.ts';
import { correctionsOf, isCopied, isSettled } from './promote.ts';

/** What `bridge replay status` says. */
export interface Status {
  readonly live: number;
  readonly closing: number | null;
  /** When the live generation became live, epoch ms; null for generation 0. */
  readonly since: number | null;
  /** What the live generation had to correct; null for generation 0. */
  readonly corrections: Corrected | null;
  readonly candidate: CandidateStatus | null;
  /** Generations that are no longer live and whose topics still exist. */
  readonly to_discard: readonly { readonly generation: number; readonly overdue: boolean }[];
}

interface Corrected extends ReturnType<typeof correctionsOf> {
  readonly done: boolean;
  /** Tasks that know what readers were told, and publish. */
  readonly taken_over: number;
  readonly tasks: number;
}

interface CandidateStatus {
  readonly generation: number;
  readonly instances: number;
  readonly seeded_tasks: number;
  readonly tasks: number;
  readonly unseeded: boolean;
  /** The generation that it goes back to, or null. */
  readonly from: number | null;
  /** Records that the live generation has processed and the candidate has not. */
  readonly lag: number;
  readonly build: string;
  /**
   * Resources by how they compare with what readers were told; exact once `lag` is 0 and nothing arrives. Null if this
   * build cannot read the state of the live generation.
   */
  readonly differences: Differences | null;
}

const overdueMs = 7 * dayMs;

/** Reads the status from the control topic, the groups and the changelogs. */
export async function readStatus(generations: Generations, nowMs = Date.now()): Promise<Status> {
  const { live, closing, promotions, discarded } = await generations.control.refresh();
  const promotion = promotions.get(live);
  const corrected = live === 0 ? undefined : await generations.tasks(live);
  const toDiscard: { generation: number; overdue: boolean }[] = [];
  for (let generation = 0; generation < live; generation += 1) {
    if (discarded.has(generation) || !(await generations.remains(generation))) continue;
    if (await isCopied(generations, generation, live + 1)) continue;
    const over = promotions.get(generation + 1)?.at ?? nowMs;
    toDiscard.push({ generation, overdue: nowMs - over > overdueMs });
  }
  return {
    live,
    closing: closing ?? null,
    since: promotion?.at ?? null,
    corrections: corrected === undefined ? null : correctedOf(corrected),
    candidate: (await generations.exists(live + 1)) ? await candidateStatus(generations, live + 1) : null,
    to_discard: toDiscard,
  };
}

function correctedOf(tasks: readonly TaskProgress[]): Corrected {
  const taken = tasks.filter(({ hasTakenOver }) => hasTakenOver).length;
  return { ...correctionsOf(tasks), done: isSettled(tasks), taken_over: taken, tasks: tasks.length };
}

async function candidateStatus(generations: Generations, generation: number): Promise<CandidateStatus> {
  const [tasks, { members }, lag, build] = await Promise.all([
    generations.tasks(generation),
    generations.members(generation),
    generations.lag(generation),
    generations.buildOf(generation),
  ]);
  return {
    generation,
    instances: members.length,
    seeded_tasks: tasks.filter(({ seed }) => seed?.done === true).length,
    tasks: tasks.length,
    unseeded: tasks.some(({ seed }) => seed?.unseeded === true),
    lag: Number(lag),
    build,
    from: tasks.find(({ seed }) => seed !== undefined)?.seed?.from ?? null,
    differences: (await generations.differences(generation)) ?? null,
  };
}
