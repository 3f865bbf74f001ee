import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assignTasks, joinOf, noClaim, taskProtocol, type TaskClaim } from '../../streams/assignor.ts';
import { assignerProtocol, type GroupMemberAssignment } from '../../kafka/client.ts';
import type { GroupProtocol } from '../../kafka/group.ts';

type Claims = ReadonlyMap<string, TaskClaim>;

const names = ['m0', 'm1', 'm2', 'm3', 'm4'];
/** Any claims, also wrong ones: overlapping, from the past, of tasks that do not exist. */
const anyClaims = fc
  .array(
    fc.record({
      generation: fc.integer({ min: -1, max: 3 }),
      tasks: fc.array(fc.integer({ min: -2, max: 14 }), { maxLength: 14 }),
    }),
    { minLength: 1, maxLength: names.length },
  )
  .map((claims): Claims => new Map(claims.map((claim, at) => [names[at]!, claim])));
const taskCounts = fc.nat(13);

/** What the members would claim after `assigned`. */
function claimsAfter(
  assigned: ReadonlyMap<string, readonly number[]>,
  generation: number,
): Map<string, TaskClaim> {
  return new Map([...assigned].map(([member, tasks]) => [member, { generation, tasks }]));
}

/** The members that stay, and noClaim for those that join. */
function change(claims: Claims, members: readonly string[]): Claims {
  return new Map(members.map((member) => [member, claims.get(member) ?? noClaim]));
}

function ownerOf(assigned: ReadonlyMap<string, readonly number[]>): Map<number, string> {
  return new Map([...assigned].flatMap(([member, tasks]) => tasks.map((task) => [task, member] as const)));
}

describe('the assignment of tasks', () => {
  test('gives every task to exactly one member, evenly within one, whatever is claimed', () => {
    fc.assert(
      fc.property(taskCounts, anyClaims, (taskCount, claims) => {
        const assigned = assignTasks(taskCount, claims);
        assert.deepEqual([...assigned.keys()].sort(), [...claims.keys()].sort());
        assert.deepEqual(
          [...assigned.values()].flat().sort((a, b) => a - b),
          Array.from({ length: taskCount }, (_, task) => task),
        );
        const counts = [...assigned.values()].map(({ length }) => length);
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1);
      }),
    );
  });

  test('is the same in whatever order the members come', () => {
    const shuffled = anyClaims.chain((claims) =>
      fc.tuple(
        fc.constant(claims),
        fc
          .shuffledSubarray([...claims], { minLength: claims.size, maxLength: claims.size })
          .map((entries): Claims => new Map(entries)),
      ),
    );
    fc.assert(
      fc.property(taskCounts, shuffled, (taskCount, [claims, others]) => {
        const sorted = (of: Claims) => [...assignTasks(taskCount, of)].sort(([a], [b]) => (a < b ? -1 : 1));
        assert.deepEqual(sorted(claims), sorted(others));
      }),
    );
  });

  test('moves nothing while the members stay the same', () => {
    fc.assert(
      fc.property(taskCounts, anyClaims, (taskCount, claims) => {
        const first = assignTasks(taskCount, claims);
        assert.deepEqual(assignTasks(taskCount, claimsAfter(first, 4)), first);
      }),
    );
  });

  test('moves to a joiner only what makes it even, and from a leaver only what it had', () => {
    fc.assert(
      fc.property(taskCounts, anyClaims, (taskCount, claims) => {
        const before = assignTasks(taskCount, claims);
        const members = [...before.keys()];
        const had = ownerOf(before);
        const moved = (after: ReadonlyMap<string, readonly number[]>): number[] =>
          [...ownerOf(after)].filter(([task, member]) => had.get(task) !== member).map(([task]) => task);

        const joined = assignTasks(taskCount, change(claimsAfter(before, 4), [...members, 'joiner']));
        assert.deepEqual(moved(joined).sort(), [...joined.get('joiner')!].sort());

        const [leaver = '', ...rest] = members;
        if (rest.length === 0) return;
        const left = assignTasks(taskCount, change(claimsAfter(before, 4), rest));
        assert.deepEqual(moved(left).sort(), [...before.get(leaver)!].sort());
      }),
    );
  });

  test('gives a task that two claim to the claim of the highest generation', () => {
    const claims = new Map<string, TaskClaim>([
      ['asleep', { generation: 3, tasks: [0, 1] }],
      ['awake', { generation: 4, tasks: [1, 2] }],
      ['new', noClaim],
    ]);
    const assigned = assignTasks(6, claims);
    assert.deepEqual([...assigned.get('awake')!], [1, 2]);
    assert.ok(assigned.get('asleep')!.includes(0));
  });

  test('over a rolling restart of three moves only tasks of the one that leaves and those of the joiner', () => {
    const taskCount = 12;
    let generation = 1;
    let assigned = assignTasks(taskCount, change(new Map(), ['a1', 'b1', 'c1']));
    for (const restarted of ['a', 'b', 'c']) {
      const leaver = `${restarted}1`;
      const stay = [...assigned.keys()].filter((member) => member !== leaver);
      const without = assignTasks(taskCount, change(claimsAfter(assigned, generation++), stay));
      for (const member of stay)
        for (const task of assigned.get(member)!) assert.ok(without.get(member)!.includes(task));
      const joiner = `${restarted}2`;
      const again = assignTasks(taskCount, change(claimsAfter(without, generation++), [...stay, joiner]));
      assert.equal(again.get(joiner)!.length, 4);
      for (const member of stay)
        for (const task of again.get(member)!) assert.ok(without.get(member)!.includes(task));
      assigned = again;
    }
  });

  test('assigns nothing where nobody is', () => {
    assert.equal(assignTasks(4, new Map()).size, 0);
  });
});

describe('the group protocol', () => {
  const topics = ['in.a', 'in.b'];
  const make = (claim: TaskClaim, read = topics): GroupProtocol =>
    taskProtocol({ topics: read, partitions: 3, claim: () => claim });
  const decoded = (assignments: readonly GroupMemberAssignment[]): Record<string, unknown> =>
    Object.fromEntries(
      assignments.map(({ memberId, memberAssignment }) => [
        memberId,
        { ...assignerProtocol.MemberAssignment.decode(memberAssignment)?.assignment },
      ]),
    );

  test('carries claims to the leader, which gives partition i of every topic to the owner of task i', () => {
    const members = [
      { memberId: 'm1', memberMetadata: make({ generation: 2, tasks: [1] }).metadata() },
      { memberId: 'm0', memberMetadata: make({ generation: 2, tasks: [2, 0] }).metadata() },
    ];
    assert.deepEqual(decoded(make(noClaim).assign(members)), {
      m0: { 'in.a': [0, 2], 'in.b': [0, 2] },
      m1: { 'in.a': [1], 'in.b': [1] },
    });
  });

  test('case 8: gives each member the partitions of its own topics while a rolling upgrade adds one in front', () => {
    const newer = ['in.0', ...topics];
    const members = [
      { memberId: 'new', memberMetadata: make({ generation: 2, tasks: [1] }, newer).metadata() },
      { memberId: 'old', memberMetadata: make({ generation: 2, tasks: [2, 0] }).metadata() },
    ];
    const expected = {
      new: { 'in.0': [1], 'in.a': [1], 'in.b': [1] },
      old: { 'in.a': [0, 2], 'in.b': [0, 2] },
    };
    assert.deepEqual(decoded(make(noClaim).assign(members)), expected);
    assert.deepEqual(decoded(make(noClaim, newer).assign(members)), expected);
  });

  test('case 8: a member whose leader does not know its first topic has the tasks of its other topics', () => {
    const partitions = new Map([
      ['in.a', [2, 0]],
      ['in.b', [0, 2]],
    ]);
    const { tasks } = joinOf('g', { memberId: 'm', generationId: 3, partitions });
    assert.deepEqual(tasks, [0, 2]);
  });

  test('a member whose claim cannot be read claims nothing, and gets its share', () => {
    const strange = ['', 'null', '{', '[]', '{"generation":"9","tasks":[0]}', '{"generation":9,"tasks":7}'];
    for (const text of strange) {
      const memberMetadata = assignerProtocol.MemberMetadata.encode({
        version: 1,
        topics,
        userData: Buffer.from(text),
      });
      const members = [
        { memberId: 'm0', memberMetadata },
        { memberId: 'm1', memberMetadata: make({ generation: 1, tasks: [0, 1] }).metadata() },
      ];
      assert.deepEqual(
        decoded(make(noClaim).assign(members)),
        { m0: { 'in.a': [2], 'in.b': [2] }, m1: { 'in.a': [0, 1], 'in.b': [0, 1] } },
        text,
      );
    }
  });
});
