import type { Attempt } from './attempt.ts';
import type { GroupMembership, OutputRecord, PartitionOffset } from './record.ts';

/** A transactional producer, reduced to what a commit needs. Each call resolves once the cluster has answered. */
export interface TransactionalLog {
  /** Resolves once the previous transaction is written completely: records fetched until then still join this one. */
  begin(groupId: string): Promise<void>;
  send(records: readonly OutputRecord[]): Promise<void>;
  sendOffsets(offsets: readonly PartitionOffset[], membership: GroupMembership): Promise<void>;
  commit(): Promise<void>;
}

/** The fewest outputs that get a request of their own; fewer are sent together with the next ones. */
export const worthASend = 500;

/** The step of a commit that has just been completed; tests crash a transaction after each. */
export type CommitStep = 'begin' | 'outputs' | 'changelogs' | 'offsets' | 'commit' | 'foldIn';

/**
 * Runs one transaction in the only order that keeps exactly-once; only steps 3 and 4 are under way at the same time.
 * Everything that a record led to (outputs, state, the offset behind it) becomes visible together in step 5 or not at
 * all; memory follows the log in step 6. When a step rejects, the caller settles the transaction with a new producer
 * and reads from the group's committed offsets whether step 5 took effect.
 * @param afterStep - called after each step, `changelogs` before `offsets`; a test throws from it or ends the process.
 */
export async function commit(
  log: TransactionalLog,
  attempt: Pick<Attempt, 'membership' | 'outputs' | 'changelogs' | 'offsets' | 'mayHaveLanded' | 'foldIn'>,
  afterStep: (step: CommitStep) => void | Promise<void> = () => undefined,
): Promise<void> {
  // 1. Begin. Step 2 already processes records while the previous transaction is still being written.
  let sending = meanwhile(log.begin(attempt.membership.groupId).then(() => afterStep('begin')));
  let sendingOffsets = Promise.resolve();
  try {
    // 2. Outputs and dead letters, while more records are processed. The last of them are sent with the changelogs.
    let unsent: readonly OutputRecord[] = [];
    for (const records of attempt.outputs()) {
      await sending;
      if (unsent.length < worthASend) unsent = [...unsent, ...records];
      else {
        sending = meanwhile(log.send(unsent));
        unsent = records;
      }
      await eventLoopTurn();
    }
    await sending;
    await afterStep('outputs');
    // 3. Offsets, with member and generation: the broker refuses a zombie here. They go to the group's coordinator, so
    // step 4 need not wait for them.
    sendingOffsets = meanwhile(log.sendOffsets(attempt.offsets(), attempt.membership));
    // 4. Changelogs of the stores.
    for (const records of attempt.changelogs()) {
      await log.send([...unsent, ...records]);
      unsent = [];
    }
    if (unsent.length > 0) await log.send(unsent);
    await afterStep('changelogs');
    await sendingOffsets;
    await afterStep('offsets');
  } finally {
    // Also after a failure: no request of the transaction may be under way when the caller settles it.
    await Promise.allSettled([sending, sendingOffsets]);
  }
  // 5. Commit. Whatever becomes of the answer, from here on it may have taken effect.
  attempt.mayHaveLanded = true;
  await log.commit();
  await afterStep('commit');
  // 6. Memory follows the log.
  attempt.foldIn();
  await afterStep('foldIn');
}

/** Marks the failure of a call that is awaited later as handled, so that it is no unhandled rejection until then. */
function meanwhile(call: Promise<void>): Promise<void> {
  call.catch(() => undefined);
  return call;
}

// Lets the send write its request, and heartbeats and fetches run, before the next records occupy the process.
function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
