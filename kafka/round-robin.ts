import { assignerProtocol } from './client.ts';
import type { GroupProtocol } from './group.ts';

/** Partitions in turn to the members; the name is that of kafkajs, which older releases have joined with. */
export function roundRobin(topics: readonly string[], partitions: number): GroupProtocol {
  return {
    name: 'RoundRobinAssigner',
    metadata: () =>
      assignerProtocol.MemberMetadata.encode({ version: 0, topics: [...topics], userData: Buffer.alloc(0) }),
    assign(members) {
      const ids = members.map(({ memberId }) => memberId).sort();
      const assigned = ids.map((): Record<string, number[]> => ({}));
      const all = topics.flatMap((topic) => Array.from({ length: partitions }, (_, at) => ({ topic, at })));
      for (const [index, { topic, at }] of all.entries()) {
        const of = assigned[index % ids.length];
        if (of !== undefined) (of[topic] ??= []).push(at);
      }
      return ids.map((memberId, index) => ({
        memberId,
        memberAssignment: assignerProtocol.MemberAssignment.encode({
          version: 0,
          assignment: assigned[index] ?? {},
          userData: Buffer.alloc(0),
        }),
      }));
    },
  };
}
