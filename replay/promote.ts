import { setTimeout as sleep } from 'node:timers/promises';
import { ControlWriter, type LiveRecord } from '../topology/control.ts';
import { Interrupted, RefusedCommand } from './exit.ts';
import type { Generations, Member, TaskProgress } from './generations.ts';

/** How a candidate is made live. */
export interface PromoteOptions {
  readonly generation: number;
  /** Every reader compares generations; older readers would take a correction for an old version. */
  readonly isReadersReady: boolean;
  /** How long the live instances may take to leave. */
  readonly waitMs: number;
  readonly announce: boolean;
  readonly removeUnreadable: boolean;
  /** The generation that the candidate must go back to; undefined for any candidate. */
  readonly from?: number | undefined;
  /** Called with each step. */
  readonly onStep: (text: string) => void;
  readonly signal: AbortSignal;
  /** For fault tests: called after each step. */
  readonly afterStep?: (step: PromoteStep) => void | Promise<void>;
}

export type PromoteStep = 'checked' | 'fenced' | 'closing' | 'empty' | 'cut' | 'live' | 'deleted';

/** A candidate further behind than this would hold up readers until it has caught up. */
const maxLag = 10_000n;
const askEveryMs = 250;

/** What to do about a promotion that was interrupted once it had begun. */
const hasBegun =
  'nobody publishes until the same command has been run again, or --abort has given the promotion up';

/**
 * Makes a candidate live in repeatable steps: the live instances leave, their committed offsets become the cut, and the
 * candidate publishes from there on.
 * @throws RefusedCommand when a precondition is not met. Then nothing was changed, or the promotion was given up again.
 */
export async function promote(generations: Generations, given: PromoteOptions): Promise<void> {
  const { generation, onStep, signal, afterStep = () => undefined } = given;
  const { control } = generations;
  const before = await control.refresh();
  const options = before.closing === generation ? { ...given, ...before.begun, isReadersReady: true } : given;
  if (options !== given)
    onStep(`the promotion of generation ${generation} has begun: going on as it was begun`);
  if (before.live === generation) {
    onStep(`generation ${generation} is live already`);
    // An earlier run may have ended before it did.
    if (generation > 0) await deleteGroup(generations, generation - 1, onStep);
    return;
  }
  await checkPreconditions(generations, options, before.live).catch((error: unknown) => {
    if (before.closing !== generation || !(error instanceof RefusedCommand)) throw error;
    throw new RefusedCommand(
      `${error.message}. The promotion has begun, nobody publishes meanwhile: --abort lets generation ${before.live} go on`,
    );
  });
  await afterStep('checked');
  const writer = await ControlWriter.open(generations.connection, generations);
  try {
    await afterStep('fenced');
    // What another writer wrote before it was fenced.
    const state = await control.refresh();
    if (state.live !== before.live)
      throw new RefusedCommand(`another promotion was faster: generation ${state.live} is live`);
    if (state.closing !== generation)
      await writer.write({
        type: 'closing',
        generation,
        from: state.live,
        at: Date.now(),
        announce: options.announce,
        removeUnreadable: options.removeUnreadable,
      });
    onStep(
      `generation ${state.live} is closing: its instances finish what they have begun and leave the group`,
    );
    await afterStep('closing');
    await untilEmpty(generations, writer, options);
    await afterStep('empty');
    const cut = await readCut(generations, state.live, signal);
    await afterStep('cut');
    const build = await generations.buildOf(generation);
    const record: LiveRecord = {
      type: 'live',
      generation,
      from: state.live,
      at: Date.now(),
      cut,
      build,
      announce: options.announce,
      removeUnreadable: options.removeUnreadable,
    };
    await writer.write(record);
    const isUnseeded = (await generations.tasks(generation)).some(({ seed }) => seed?.unseeded === true);
    onStep(
      `generation ${generation} is live: it publishes from the cut on, and ` +
        (isUnseeded
          ? 'corrects nothing, because it began without the live state'
          : 'corrects what came before'),
    );
    await afterStep('live');
    await deleteGroup(generations, state.live, onStep);
    await afterStep('deleted');
  } finally {
    await writer.close();
  }
}

/** A safeguard against builds that know no control topic: their next commit is refused. */
async function deleteGroup(
  generations: Generations,
  generation: number,
  onStep: PromoteOptions['onStep'],
): Promise<void> {
  const groupId = generations.groupOf(generation);
  const { groups } = await generations.admin.describeGroups([groupId]);
  if (groups[0]?.state === 'Dead') return;
  await generations.admin
    .deleteGroups([groupId])
    .catch(() => onStep(`the group ${groupId} could not be deleted: discard does it`));
}

/** Gives up a promotion that has begun: the live instances go on. */
export async function abortPromotion(generations: Generations, generation: number): Promise<void> {
  const writer = await ControlWriter.open(generations.connection, generations);
  try {
    const { live, closing } = await generations.control.refresh();
    if (live >= generation)
      throw new RefusedCommand(`generation ${generation} is live: the way back is another generation`);
    if (closing !== generation)
      throw new RefusedCommand(
        `no promotion of generation ${generation} has begun: there is nothing to give up`,
      );
    await writer.write({ type: 'aborted', generation, at: Date.now() });
  } finally {
    await writer.close();
  }
}

async function checkPreconditions(
  generations: Generations,
  { generation, isReadersReady, waitMs, from, signal }: PromoteOptions,
  live: number,
): Promise<void> {
  const refuse = (text: string): never => {
    throw new RefusedCommand(text);
  };
  if (generation !== live + 1) refuse(`generation ${live} is live, so that only ${live + 1} can be promoted`);
  if (!isReadersReady)
    refuse(
      'readers of contract version 1 would ignore or repeat corrections: upgrade all of them first, then say --readers-ready',
    );
  if (!(await generations.exists(generation)))
    refuse(
      `generation ${generation} has no topics: run \`GENERATION=${generation} bridge topics\` and its candidate`,
    );
  const tasks = await generations.tasks(generation);
  const unseeded = tasks.filter(({ seed }) => seed?.done !== true).map(({ partition }) => `0_${partition}`);
  if (unseeded.length > 0)
    refuse(`the candidate has not seeded ${unseeded.join(', ')} yet: start it, or wait`);
  const candidate = await generations.members(generation);
  if (candidate.members.length === 0)
    refuse(`no instance of generation ${generation} runs: readers would get nothing until one does`);
  if (new Set(tasks.map(({ seed }) => `${seed?.from} ${seed?.unseeded}`)).size > 1)
    refuse(
      'the tasks of the candidate have begun differently, because its instances had different options: discard it, and start it again',
    );
  const other = tasks.find(({ seed }) => from !== undefined && seed?.from !== from);
  if (other !== undefined)
    refuse(
      `the candidate does not go back to generation ${from}: discard it, and start it with --from ${from}`,
    );
  if (live > 0) await checkLiveTasks(generations, live, tasks);
  await checkLiveMembers(generations, live, { waitMs, signal });
  if ((await generations.committed(live)).size === 0 && (await generations.hasState(live)))
    refuse(
      `group ${generations.groupOf(live)} has no offsets, but its changelogs hold state: there is no cut`,
    );
  const skipped = await generations.skipped(tasks, live);
  if (skipped !== undefined)
    refuse(
      `generation ${live} has not processed ${skipped} yet, where the candidate begins: nobody would process what lies between`,
    );
  const lag = await generations.lag(generation);
  if (lag > maxLag)
    refuse(`the candidate is ${lag} records behind: readers would wait for them; let it catch up`);
}

/** The way back need not wait for corrections that it undoes. */
async function checkLiveTasks(
  generations: Generations,
  live: number,
  candidate: readonly TaskProgress[],
): Promise<void> {
  const tasks = await generations.tasks(live);
  const isBack = candidate.every(({ seed }) => seed?.from !== undefined);
  if (isBack ? tasks.every(({ hasTakenOver }) => hasTakenOver) : isSettled(tasks)) return;
  throw new RefusedCommand(
    isBack
      ? `generation ${live} has not taken over yet what readers have: it has to run until \`bridge replay status\` says that all tasks have`
      : `generation ${live} has not corrected all that it has to: wait until \`bridge replay status\` says so`,
  );
}

/** Waits for the end of a rebalance: only then is the members' own data available. */
async function checkLiveMembers(
  generations: Generations,
  live: number,
  { waitMs, signal }: Pick<PromoteOptions, 'waitMs' | 'signal'>,
): Promise<void> {
  const deadline = performance.now() + waitMs;
  for (;;) {
    const { members } = await generations.members(live);
    checkMembers(members);
    if (members.every(({ isRetirable }) => isRetirable !== undefined)) return;
    if (signal.aborted) throw new Interrupted();
    if (performance.now() > deadline)
      throw new RefusedCommand(
        `the group ${generations.groupOf(live)} has rebalanced for ${Math.round(waitMs / 1_000)} s`,
      );
    await sleep(askEveryMs);
  }
}

function checkMembers(members: Awaited<ReturnType<Generations['members']>>['members']): void {
  const older = members.filter(({ isRetirable }) => isRetirable === false);
  if (older.length === 0) return;
  throw new RefusedCommand(
    `instances run that do not follow the control topic: ${named(older)}; stop them, and restart those of this build that were ` +
      'started before `bridge topics` had created it',
  );
}

function named(members: readonly Member[]): string {
  return members.map(({ memberId, host }) => `${memberId} at ${host}`).join(', ');
}

async function untilEmpty(
  generations: Generations,
  writer: ControlWriter,
  { generation, waitMs, signal, onStep }: PromoteOptions,
): Promise<void> {
  const live = generation - 1;
  const giveUp = async (reason: string): Promise<never> => {
    await writer.write({ type: 'aborted', generation, at: Date.now() });
    throw new RefusedCommand(`${reason}; the promotion was given up, generation ${live} goes on`);
  };
  const deadline = performance.now() + waitMs;
  for (;;) {
    if (signal.aborted) throw new Interrupted(hasBegun);
    const { state, members } = await generations.members(live);
    if (state === 'Empty' || state === 'Dead') {
      onStep(`the group ${generations.groupOf(live)} is empty`);
      return;
    }
    try {
      checkMembers(members);
    } catch (error) {
      await giveUp(error instanceof Error ? error.message : 'an instance does not leave');
    }
    if (performance.now() > deadline)
      await giveUp(
        `after ${Math.round(waitMs / 1_000)} s these instances are still in the group ${generations.groupOf(live)}: ` +
          named(members),
      );
    await sleep(askEveryMs);
  }
}

/** The offsets up to which the generation has published; 0 for a partition without any. */
async function readCut(
  generations: Generations,
  live: number,
  signal: AbortSignal,
): Promise<Record<string, string>> {
  const offsets = await generations.stable(live, signal);
  if (signal.aborted) throw new Interrupted(hasBegun);
  if (offsets.size === 0 && (await generations.hasState(live)))
    throw new RefusedCommand(
      `group ${generations.groupOf(live)} has no offsets, but its changelogs hold state: there is no cut. Give the promotion up with --abort`,
    );
  const cut: Record<string, string> = {};
  for (const topic of generations.rawTopics)
    for (let partition = 0; partition < generations.partitions; partition += 1) {
      const name = `${topic}-${partition}`;
      cut[name] = String(offsets.get(name) ?? 0n);
    }
  return cut;
}

/** Whether a promoted generation has nothing left to do except process its records. */
export function isSettled(tasks: readonly TaskProgress[]): boolean {
  return tasks.every(({ hasTakenOver, corrections }) => hasTakenOver && corrections?.done === true);
}

/** The corrections of all tasks together. */
export function correctionsOf(tasks: readonly TaskProgress[]): {
  changed: number;
  added: number;
  removed: number;
  unreadable: number;
} {
  const all = { changed: 0, added: 0, removed: 0, unreadable: 0 };
  for (const { corrections } of tasks) {
    all.changed += corrections?.changed ?? 0;
    all.added += corrections?.added ?? 0;
    all.removed += corrections?.removed ?? 0;
    all.unreadable += corrections?.unreadable ?? 0;
  }
  return all;
}

/** Whether a candidate copies the state of a generation, or may be about to. */
export async function isCopied(
  generations: Generations,
  generation: number,
  candidate: number,
): Promise<boolean> {
  if (!(await generations.exists(candidate))) return false;
  const tasks = await generations.tasks(candidate);
  if (tasks.every(({ seed }) => seed?.done === true)) return false;
  if (tasks.some(({ seed }) => seed !== undefined))
    return tasks.some(({ seed }) => seed?.from === generation);
  const { members } = await generations.members(candidate);
  return members.length > 0;
}

/**
 * Deletes the group, the changelogs and the shadow of a generation that is no longer live, or of a candidate that never
 * will be.
 */
export async function discard(generations: Generations, generation: number): Promise<readonly string[]> {
  const writer = await ControlWriter.open(generations.connection, generations);
  try {
    const { live, closing } = await generations.control.refresh();
    if (generation === live) throw new RefusedCommand(`generation ${generation} is live`);
    if (closing !== undefined)
      throw new RefusedCommand(
        `a promotion of generation ${closing} is under way: finish it, or give it up with --abort`,
      );
    if (generation > live + 1) throw new RefusedCommand(`there is no generation ${generation}`);
    if (generation === live - 1 && !isSettled(await generations.tasks(live)))
      throw new RefusedCommand(
        `generation ${live} has not taken over yet what readers have, or not corrected all of it: wait until \`bridge replay status\` says so`,
      );
    if (generation < live && (await isCopied(generations, generation, live + 1)))
      throw new RefusedCommand(
        `generation ${live + 1} may go back to generation ${generation} and still copy its state: wait until \`bridge replay status\` says that all tasks are seeded`,
      );
    const { members } = await generations.members(generation);
    if (members.length > 0)
      throw new RefusedCommand(
        `instances of generation ${generation} run: ${named(members)}; stop them first`,
      );
    const existing = new Set(await generations.admin.listTopics());
    const topics = generations.topicsOf(generation).filter((topic) => existing.has(topic));
    if (topics.length > 0) await generations.admin.deleteTopics({ topics });
    await generations.admin.deleteGroups([generations.groupOf(generation)]).catch(() => undefined);
    if (generation < live) await writer.write({ type: 'discarded', generation, at: Date.now() });
    return topics;
  } finally {
    await writer.close();
  }
}
