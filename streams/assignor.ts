import { assignerProtocol } from '../kafka/client.ts';
import type { Assignment, GroupProtocol } from '../kafka/group.ts';
import type { GroupMembership } from './record.ts';

/** What a member claims when it joins: the tasks it has, and the generation in which it got them. */
export interface TaskClaim {
  /** -1 before the first assignment. */
  readonly generation: number;
  readonly tasks: readonly number[];
}

export const noClaim: TaskClaim = { generation: -1, tasks: [] };

/**
 * Assigns every task to one member, evenly (counts differ by at most one), and keeps a task where it is as far as that
 * allows. When two members claim a task, the claim of the higher generation wins: the other member was suspended. The
 * order of the members makes no difference.
 */
export function assignTasks(
  taskCount: number,
  claims: ReadonlyMap<string, TaskClaim>,
): Map<string, number[]> {
  const members = [...claims.keys()].sort();
  const assigned = new Map<string, number[]>(members.map((member) => [member, []]));
  if (members.length === 0) return assigned;
  const owner = new Map<number, string>();
  for (const member of members) {
    const claim = claims.get(member) ?? noClaim;
    for (const task of claim.tasks) {
      const rival = owner.get(task);
      const rivalGeneration = rival === undefined ? -2 : (claims.get(rival)?.generation ?? -1);
      if (task >= 0 && task < taskCount && claim.generation > rivalGeneration) owner.set(task, member);
    }
  }
  // Of n tasks on m members, n mod m members get one more: those that hold most, so that the fewest tasks move.
  const floor = Math.floor(taskCount / members.length);
  let larger = taskCount % members.length;
  const held = (member: string): number[] => [...owner].filter(([, m]) => m === member).map(([task]) => task);
  const byHeld = [...members].sort((a, b) => held(b).length - held(a).length || (a < b ? -1 : 1));
  const capacity = new Map<string, number>();
  for (const member of byHeld) {
    capacity.set(member, larger > 0 ? floor + 1 : floor);
    larger -= 1;
    const kept = held(member).sort((a, b) => a - b);
    assigned.set(member, kept.slice(0, capacity.get(member)));
  }
  const taken = new Set([...assigned.values()].flat());
  const free = Array.from({ length: taskCount }, (_, task) => task).filter((task) => !taken.has(task));
  for (const member of byHeld) {
    const tasks = assigned.get(member) ?? [];
    tasks.push(...free.splice(0, (capacity.get(member) ?? 0) - tasks.length));
    tasks.sort((a, b) => a - b);
  }
  return assigned;
}

const version = 1;

/**
 * The group protocol of a streams application: partition i of every topic goes to the owner of task i. During a rolling
 * upgrade the members read different topics: each gets the partitions of its own.
 * @param options.claim - asked at each join.
 */
export function taskProtocol(options: {
  readonly topics: readonly string[];
  readonly partitions: number;
  readonly claim: () => TaskClaim;
  /** What a member tells others of itself besides. */
  readonly memberData?: Readonly<Record<string, unknown>>;
}): GroupProtocol {
  const { topics, partitions, claim, memberData } = options;
  return {
    name: 'stream-tasks',
    metadata: () =>
      assignerProtocol.MemberMetadata.encode({
        version,
        topics: [...topics],
        userData: Buffer.from(JSON.stringify({ ...memberData, ...claim() })),
      }),
    assign(members) {
      const known = members.map(({ memberId, memberMetadata }) => ({
        memberId,
        ...readMetadata(memberMetadata, topics),
      }));
      const tasks = assignTasks(partitions, new Map(known.map(({ memberId, claim }) => [memberId, claim])));
      return known.map(({ memberId, topics: read }) => ({
        memberId,
        memberAssignment: assignerProtocol.MemberAssignment.encode({
          version,
          assignment: Object.fromEntries(read.map((topic) => [topic, tasks.get(memberId) ?? []])),
          userData: Buffer.alloc(0),
        }),
      }));
    },
  };
}

/** One assignment: this member's membership in a generation, and its tasks in it. */
export interface Join {
  readonly membership: GroupMembership;
  readonly tasks: readonly number[];
}

/**
 * The join that an assignment stands for. The tasks come from all topics together: a leader of another version does not
 * know every topic that this member reads.
 */
export function joinOf(groupId: string, { memberId, generationId, partitions }: Assignment): Join {
  const tasks = [...new Set([...partitions.values()].flat())].sort((a, b) => a - b);
  return { membership: { groupId, memberId, generationId }, tasks };
}

/** What a member of the protocol has told of itself: `memberData` is among it. Undefined for another program's. */
export function readMemberData(metadata: Buffer): Readonly<Record<string, unknown>> | undefined {
  try {
    const userData = assignerProtocol.MemberMetadata.decode(metadata)?.userData;
    const data: unknown = JSON.parse(userData?.toString('utf8') ?? 'null');
    return typeof data === 'object' && data !== null ? (data as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

// A member that runs another program, or a later version, claims nothing.
function readMetadata(
  metadata: Buffer,
  topics: readonly string[],
): { readonly topics: readonly string[]; readonly claim: TaskClaim } {
  try {
    const decoded = assignerProtocol.MemberMetadata.decode(metadata);
    return { topics: decoded?.topics ?? topics, claim: readClaim(decoded?.userData) };
  } catch {
    return { topics, claim: noClaim };
  }
}

function readClaim(userData: Buffer | undefined): TaskClaim {
  try {
    const claim: unknown = JSON.parse(userData?.toString('utf8') ?? 'null');
    if (typeof claim !== 'object' || claim === null) return noClaim;
    const { generation, tasks } = claim as { generation?: unknown; tasks?: unknown };
    if (!Number.isInteger(generation) || !Array.isArray(tasks)) return noClaim;
    return {
      generation: generation as number,
      tasks: tasks.filter((task): task is number => Number.isInteger(task)),
    };
  } catch {
    return noClaim;
  }
}
