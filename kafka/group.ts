/** Membership in a consumer group: joins, heartbeats by a timer, follows rebalances, commits offsets. */
import { setTimeout as sleep } from 'node:timers/promises';
import { settlesWithin } from '../process/deadline.ts';
import {
  isRetriable,
  isUnexplained,
  kafkaClient,
  kafkaErrorType,
  type GroupMemberAssignment,
  type KafkaConnection,
  type KafkaLog,
  type RawGroupMember,
  type RawMembership,
} from './client.ts';

/** One assignment, which lasts until the next. */
export interface Assignment {
  readonly memberId: string;
  readonly generationId: number;
  /** The partitions by topic. */
  readonly partitions: ReadonlyMap<string, readonly number[]>;
}

/** How the members of a group divide the partitions. */
export interface GroupProtocol {
  /** All members need the same. */
  readonly name: string;
  /** What this member tells the leader: its topics, and data of the protocol's own. Asked at each join. */
  metadata(): Buffer;
  /** Divides the partitions; called when this member is the leader. */
  assign(members: readonly RawGroupMember[]): GroupMemberAssignment[];
}

/** What a member tells its owner, all of it synchronously. */
export interface GroupHooks {
  onAssigned(assignment: Assignment): void;
  /** The member has no partitions any more, until the next assignment. */
  onLost(): void;
  /**
   * The group rebalances: this member joins again once the promise settles, or after `handOverMs`. Until then it can commit
   * under the present assignment.
   */
  onRebalance?(): Promise<unknown>;
  /** The group refuses this member for good: a missing permission, another protocol. */
  onError(error: Error): void;
}

interface GroupOptions {
  readonly groupId: string;
  readonly clientId: string;
  readonly protocol: GroupProtocol;
  readonly sessionTimeoutMs: number;
  readonly log: KafkaLog;
}

/** How often a heartbeat is sent. */
const heartbeatMs = 1_000;
/** How long the members have to join after a rebalance has begun. */
const rebalanceTimeoutMs = 20_000;
/** How long a member may finish what it has begun; well below the session and the rebalance time-out. */
const handOverMs = 5_000;
/** Pause after a request that failed, doubled up to a second. */
const pauseMs = 50;
/** Pause between two questions for offsets that an open transaction may change. */
const unstablePauseMs = 5;

/** A partition and its next offset. */
interface Position {
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
}

/** A member of a consumer group, from start() to close(). */
export class GroupMember {
  readonly #membership: RawMembership;
  readonly #options: GroupOptions;
  readonly #hooks: GroupHooks;
  readonly #closing = new AbortController();
  #assignment: Assignment | undefined;
  #unassignedAt = performance.now();
  #isReachable = true;
  #running: Promise<void> | undefined;

  constructor(connection: KafkaConnection, options: GroupOptions, hooks: GroupHooks) {
    const { groupId, sessionTimeoutMs } = options;
    this.#membership = kafkaClient(connection, options).membership({
      groupId,
      sessionTimeout: sessionTimeoutMs,
      rebalanceTimeout: rebalanceTimeoutMs,
    });
    this.#options = options;
    this.#hooks = hooks;
  }

  /** Joins, and stays a member through rebalances and outages; assignments arrive through the hooks. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** The present assignment; undefined before the first, and after it was lost. */
  get assignment(): Assignment | undefined {
    return this.#assignment;
  }

  /** Whether the group's coordinator answered the last request: false during an outage. */
  get isReachable(): boolean {
    return this.#isReachable;
  }

  /** For how long the member has had no assignment; 0 while it has one. */
  get unassignedMs(): number {
    return this.#assignment === undefined ? performance.now() - this.#unassignedAt : 0;
  }

  /**
   * The committed offsets of `partitions`, once no open transaction can change them (require_stable, KIP-447); those
   * without one are left out. Asks again only for those that an open transaction holds back.
   * @param isWanted - ends the wait when it turns false; the answer is incomplete then.
   */
  async committed(
    partitions: readonly { topic: string; partition: number }[],
    isWanted: () => boolean,
  ): Promise<Position[]> {
    return committedOf(this.#membership, partitions, {
      isWanted: () => isWanted() && !this.#isClosing(),
      onAnswer: () => (this.#isReachable = true),
      pause: () => this.#pause(unstablePauseMs),
    });
  }

  /**
   * Commits offsets under the present assignment.
   * @throws the group's refusal (ILLEGAL_GENERATION and the like) when the assignment is over.
   */
  async commit(offsets: readonly Position[]): Promise<void> {
    const topics = groupedByTopic(offsets, ({ partition, offset }) => ({
      partition,
      offset: offset.toString(),
    }));
    await this.#membership.commitOffsets({ topics });
  }

  /** Leaves the group and disconnects; stops waiting after `timeoutMs`. No hook is called after it. */
  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort();
    const left = async (): Promise<void> => {
      // Ends a rejoin that is under way; a first join has no member to leave yet, and leaves when it is answered.
      await this.#membership.leave();
      await this.#running;
    };
    await settlesWithin(left(), timeoutMs);
    // Ends whatever still waits for an answer.
    await settlesWithin(this.#membership.disconnect(), 1_000);
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#isClosing()) {
      try {
        await this.#join();
        failures = 0;
        await this.#beat();
      } catch (error) {
        if (this.#isClosing()) return;
        const type = kafkaErrorType(error);
        const isRebalance = type === 'REBALANCE_IN_PROGRESS';
        // While it rejoins it may commit what it had: the group says when that is over.
        if (isRebalance) await settlesWithin(this.#hooks.onRebalance?.() ?? Promise.resolve(), handOverMs);
        else this.#lose();
        if (type === 'UNKNOWN_MEMBER_ID' || type === 'FENCED_INSTANCE_ID') this.#membership.forget();
        else if (type !== 'ILLEGAL_GENERATION' && !isRebalance) {
          if (isRetriable(error)) this.#isReachable = isUnexplained(error);
          else this.#hooks.onError(error as Error);
          failures += 1;
          await this.#pause(Math.min(pauseMs * 2 ** failures, 1_000));
        }
      }
    }
  }

  async #join(): Promise<void> {
    const { protocol } = this.#options;
    await this.#membership.connect();
    if (this.#isClosing()) return;
    const joined = await this.#membership.join({
      protocol: { name: protocol.name, metadata: protocol.metadata() },
      assign: (members) => protocol.assign(members),
    });
    if (this.#isClosing()) {
      await this.#membership.leave();
      return;
    }
    this.#isReachable = true;
    const { memberId, generationId, assignment } = joined;
    this.#assignment = { memberId, generationId, partitions: new Map(Object.entries(assignment)) };
    this.#hooks.onAssigned(this.#assignment);
  }

  /** Sends heartbeats until the group says that this generation is over, or has not answered for a session. */
  async #beat(): Promise<void> {
    let beatAt = performance.now();
    while (!this.#isClosing()) {
      await this.#pause(heartbeatMs);
      if (this.#isClosing()) return;
      try {
        await this.#membership.heartbeat();
        beatAt = performance.now();
        this.#isReachable = true;
      } catch (error) {
        if (isRetriable(error)) this.#isReachable = isUnexplained(error);
        const isOver = performance.now() - beatAt > this.#options.sessionTimeoutMs;
        if (isOver || !isRetriable(error) || isGenerationOver(error)) throw error;
      }
    }
  }

  #isClosing(): boolean {
    return this.#closing.signal.aborted;
  }

  #lose(): void {
    if (this.#assignment === undefined) return;
    this.#assignment = undefined;
    this.#unassignedAt = performance.now();
    this.#hooks.onLost();
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#closing.signal }).catch(() => undefined);
  }
}

/**
 * The offsets that a group has committed, for those who are no members of it, once no open transaction can change them; those
 * without one are left out.
 * @param options.isWanted - ends the wait when it turns false; the answer is incomplete then.
 */
export async function stableOffsets(
  connection: KafkaConnection,
  options: {
    readonly groupId: string;
    readonly partitions: readonly { topic: string; partition: number }[];
    readonly isWanted: () => boolean;
    readonly log: KafkaLog;
  },
): Promise<Position[]> {
  const { groupId, partitions, isWanted, log } = options;
  const membership = kafkaClient(connection, { clientId: `${groupId}-offsets`, log }).membership({
    groupId,
    sessionTimeout: rebalanceTimeoutMs,
    rebalanceTimeout: rebalanceTimeoutMs,
  });
  try {
    await membership.connect();
    return await committedOf(membership, partitions, {
      isWanted,
      onAnswer: () => undefined,
      pause: () => sleep(unstablePauseMs),
    });
  } finally {
    await membership.disconnect();
  }
}

async function committedOf(
  membership: Pick<RawMembership, 'fetchOffsets'>,
  partitions: readonly { topic: string; partition: number }[],
  hooks: { isWanted: () => boolean; onAnswer: () => void; pause: () => Promise<unknown> },
): Promise<Position[]> {
  const committed: Position[] = [];
  let open = partitions;
  while (open.length > 0 && hooks.isWanted()) {
    const unstable: { topic: string; partition: number }[] = [];
    try {
      const answers = await membership.fetchOffsets({
        topics: groupedByTopic(open, ({ partition }) => ({ partition })),
        requireStable: true,
      });
      hooks.onAnswer();
      for (const { topic, partitions: entries } of answers) {
        for (const { partition, offset, error } of entries) {
          if (error !== undefined && !isTransient(error)) throw error;
          if (error !== undefined) unstable.push({ topic, partition });
          // -1 is Kafka's "none"; -2 is what kafkajs' resetOffsets() commits for "the beginning".
          else if (BigInt(offset) >= 0n) committed.push({ topic, partition, offset: BigInt(offset) });
        }
      }
      open = unstable;
    } catch (error) {
      if (!isTransient(error)) throw error;
    }
    if (open.length > 0) await hooks.pause();
  }
  return committed;
}

const generationEnds = new Set([
  'REBALANCE_IN_PROGRESS',
  'ILLEGAL_GENERATION',
  'UNKNOWN_MEMBER_ID',
  'FENCED_INSTANCE_ID',
]);

/** Whether the coordinator answers that another generation has begun: the assignment of this one is over. */
export function isGenerationOver(error: unknown): boolean {
  return generationEnds.has(kafkaErrorType(error) ?? '');
}

/** Whether the offsets can be had in a moment: a transaction is open, or the coordinator moves. */
function isTransient(error: unknown): boolean {
  return kafkaErrorType(error) === 'UNSTABLE_OFFSET_COMMIT' || (isRetriable(error) && !isUnexplained(error));
}

function groupedByTopic<T extends { readonly topic: string }, P>(
  entries: readonly T[],
  partitionOf: (entry: T) => P,
): { topic: string; partitions: P[] }[] {
  const topics = new Map<string, P[]>();
  for (const entry of entries)
    topics.set(entry.topic, [...(topics.get(entry.topic) ?? []), partitionOf(entry)]);
  return [...topics].map(([topic, partitions]) => ({ topic, partitions }));
}
