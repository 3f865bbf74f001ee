import { assignerProtocol, type PartitionAssigner } from '../kafka/client.ts';

/** What a member tells the leader when it joins: the tasks it has, and in which generation it got them. */
export interface TaskClaim {
  /** -1 before the first assignment. */
  readonly generation: number;
  readonly tasks: readonly number[];
}

export const noClaim: TaskClaim = { generation: -1, tasks: [] };

/**
 * Gives every task to one member, evenly (counts differ by at most one), and leaves a task where it was wherever
 * that allows. A task claimed twice goes to the claim of the highest generation: the other is a member that slept.
 * Same input, same answer, in any order of members.
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
  // Of n tasks on m members, n mod m members may hold one more; those who hold most already keep the larger share.
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
 * The group protocol of a streams application: partition i of every topic goes to the owner of task i.
 * @param claim - asked at each join.
 */
export function taskAssigner(partitions: number, claim: () => TaskClaim): PartitionAssigner {
  return () => ({
    name: 'stream-tasks',
    version,
    protocol({ topics }) {
      return {
        name: 'stream-tasks',
        metadata: assignerProtocol.MemberMetadata.encode({
          version,
          topics,
          userData: Buffer.from(JSON.stringify(claim())),
        }),
      };
    },
    assign({ members, topics }) {
      const claims = new Map(
        members.map(({ memberId, memberMetadata }) => [memberId, readClaim(memberMetadata)]),
      );
      const assignment = [...assignTasks(partitions, claims)].map(([memberId, tasks]) => ({
        memberId,
        memberAssignment: assignerProtocol.MemberAssignment.encode({
          version,
          assignment: Object.fromEntries(topics.map((topic) => [topic, tasks])),
          userData: Buffer.alloc(0),
        }),
      }));
      return Promise.resolve(assignment);
    },
  });
}

// A member of another make, or of a later version, simply claims nothing.
function readClaim(metadata: Buffer): TaskClaim {
  try {
    const userData: unknown = JSON.parse(
      assignerProtocol.MemberMetadata.decode(metadata)?.userData.toString('utf8') ?? 'null',
    );
    if (typeof userData !== 'object' || userData === null) return noClaim;
    const { generation, tasks } = userData as { generation?: unknown; tasks?: unknown };
    if (!Number.isInteger(generation) || !Array.isArray(tasks)) return noClaim;
    return {
      generation: generation as number,
      tasks: tasks.filter((task): task is number => Number.isInteger(task)),
    };
  } catch {
    return noClaim;
  }
}
