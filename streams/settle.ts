import type { Attempt } from './attempt.ts';
import type { Join } from './assignor.ts';
import { StreamsError } from './errors.ts';
import type { CommittedPosition } from './offsets.ts';
import { partitionName } from './record.ts';
import type { ProcessingListener } from './tally.ts';
import type { Task } from './task.ts';

/** Of a failed transaction, what tells whether it was committed after all. */
type Unsettled = Pick<Attempt, 'join' | 'mayHaveLanded' | 'committingOf'>;

/**
 * Settles each task by the committed offsets, which no transaction of this instance can change any more: its overlay is
 * folded in or dropped.
 * @returns the tasks whose state is out of date, because another member has had them, or may be.
 */
export function settle(
  tasks: Iterable<Task>,
  join: Join,
  positions: readonly CommittedPosition[],
  unsettled: Unsettled | undefined,
  listener: ProcessingListener,
): Task[] {
  const committed = new Map(positions.map((p) => [partitionName(p), p.committed]));
  const isPossible = unsettled !== undefined && mayHaveLanded(unsettled, join);
  const lost: Task[] = [];
  const outcomes = new Set<string>();
  for (const task of tasks) {
    const attempted = isPossible ? unsettled.committingOf(task) : [];
    const outcome = task.settle(attempted, (topic) =>
      committed.get(partitionName({ topic, partition: task.partition })),
    );
    if (outcome === 'landed') task.processor.tally.report(listener);
    else task.processor.tally.forget();
    if (outcome === 'lost' || outcome === 'unknown') lost.push(task);
    if (attempted.length > 0) outcomes.add(outcome);
  }
  if (unsettled?.join === join && outcomes.has('landed') && outcomes.has('lost')) {
    throw new StreamsError(
      'INVARIANT',
      `a transaction of group ${join.membership.groupId} is half committed: it has the offsets of some tasks but not of others`,
    );
  }
  return lost;
}

/**
 * Whether committed offsets that equal those of a failed transaction can be its own: its end was about to be requested,
 * and no generation has passed in which another member may have had its tasks and committed the same records.
 */
function mayHaveLanded({ join: attempted, mayHaveLanded: isEnded }: Unsettled, join: Join): boolean {
  return isEnded && join.membership.generationId <= attempted.membership.generationId + 1;
}
