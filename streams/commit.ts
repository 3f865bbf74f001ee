import type { OutputRecord, PartitionOffset } from './record.ts';

/** Who commits: the broker refuses the offsets of a member of an older generation (KIP-447). */
export interface GroupMembership {
  readonly groupId: string;
  readonly memberId: string;
  readonly generationId: number;
}

/** A transactional producer, reduced to what a commit needs. Each call resolves once the cluster has answered. */
export interface TransactionalLog {
  /** Resolves when the transaction before is all written: what comes in until then can still be part of this one. */
  begin(groupId: string): Promise<void>;
  send(records: readonly OutputRecord[]): Promise<void>;
  sendOffsets(offsets: readonly PartitionOffset[], membership: GroupMembership): Promise<void>;
  commit(): Promise<void>;
}

/** The work of one transaction. Its generators process lazily, so records are taken in while earlier outputs travel. */
export interface Work {
  readonly membership: GroupMembership;
  /** Outputs and dead letters, a bounded number at a time. An empty list only gives way to other tasks of the process. */
  outputs(): Iterable<readonly OutputRecord[]>;
  /** What the stores wrote, one record per key, a bounded number at a time. Asked for after the last output. */
  changelogs(): Iterable<readonly OutputRecord[]>;
  /** The next offset of every partition that the work has touched. */
  offsets(): readonly PartitionOffset[];
  /** The transaction is committed: stores take their overlay in and positions become the committed ones. */
  foldIn(): void;
}

/** Outputs that are worth a request of their own; fewer wait for those that come next. */
export const worthASend = 500;

/** Where in the commit order a transaction is; tests crash it at each. */
export type CommitStep = 'begin' | 'outputs' | 'changelogs' | 'offsets' | 'commit' | 'foldIn';

/**
 * One transaction, in the only order that keeps exactly-once; only steps 3 and 4 are under way at once. Everything a
 * record led to, its outputs, the state it changed and the offset behind it, becomes visible together at step 5 or not
 * at all; memory follows in step 6 only after the log. When a step rejects, the caller settles the transaction with a
 * new producer and asks the group's committed offsets whether step 5 had happened.
 * @param afterStep - called after each step; a test throws from it or ends the process.
 */
export async function commit(
  log: TransactionalLog,
  work: Work,
  afterStep: (step: CommitStep) => void | Promise<void> = () => undefined,
): Promise<void> {
  // 1. Begin. While the transaction before is still being written, step 2 goes on processing.
  let sending = meanwhile(log.begin(work.membership.groupId).then(() => afterStep('begin')));
  let sendingOffsets = Promise.resolve();
  try {
    // 2. Outputs and dead letters, while more records are processed. The last of them wait for the changelogs.
    let unsent: readonly OutputRecord[] = [];
    for (const records of work.outputs()) {
      await sending;
      if (unsent.length < worthASend) unsent = [...unsent, ...records];
      else {
        sending = meanwhile(log.send(unsent));
        unsent = records;
      }
      await giveWay();
    }
    await sending;
    await afterStep('outputs');
    // 4. Offsets, with member and generation: a zombie is refused here. They go another way and need not wait for step 3.
    sendingOffsets = meanwhile(log.sendOffsets(work.offsets(), work.membership));
    // 3. Changelogs of the stores.
    for (const records of work.changelogs()) {
      await log.send([...unsent, ...records]);
      unsent = [];
    }
    if (unsent.length > 0) await log.send(unsent);
    await afterStep('changelogs');
    await sendingOffsets;
    await afterStep('offsets');
  } finally {
    // After a failure too: whoever settles the transaction finds nothing of it under way.
    await Promise.allSettled([sending, sendingOffsets]);
  }
  // 5. Commit.
  await log.commit();
  await afterStep('commit');
  // 6. Memory follows the log.
  work.foldIn();
  await afterStep('foldIn');
}

/** A call to be awaited later: its failure is no unhandled rejection until then. */
function meanwhile(call: Promise<void>): Promise<void> {
  call.catch(() => undefined);
  return call;
}

// Lets the send write its request before the next records keep the process busy, and heartbeats and fetches happen.
function giveWay(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
