/**
 * A cluster of fake brokers that keep a log per partition and judge sequences as Kafka does: a batch under the
 * sequence of the last one is acknowledged and dropped, a gap is refused. Around it the client's real code runs.
 */
import {
  brokerError,
  parseProduceResponse,
  type ProduceRequest,
  type ProduceResponse,
} from './kafkajs-internals.ts';

export const ERROR = {
  notLeader: 6,
  messageTooLarge: 10,
  coordinatorLoading: 14,
  coordinatorNotAvailable: 15,
  notCoordinator: 16,
  illegalGeneration: 22,
  outOfOrderSequence: 45,
  concurrentTransactions: 51,
} as const;

export const TOPIC = 'topic';

interface Batch {
  readonly producerId: number;
  readonly firstSequence: number;
  readonly length: number;
}

/** The requests of a transaction's coordinator and of a group's; both live on every fake broker. */
export type CoordinatorRequest = 'initProducerId' | 'addPartitions' | 'addOffsets' | 'commitOffsets' | 'endTxn';

/** A reaction of the test to one request: an error code, undefined to go on as usual, or throw. */
type Reaction = number | undefined;

export class FakeCluster {
  readonly targetTopics = new Set<string>();
  readonly brokers = new Map<number, FakeBroker>();
  /** Values per partition, in log order. */
  readonly logs = new Map<number, string[]>();
  /** The leader of each partition; change it to move one. */
  readonly leaders: Map<number, number>;
  /** Where the coordinators are; change it to move them. */
  coordinator = 1;
  /** How often a coordinator was looked up. */
  lookups = 0;
  reconnects = 0;
  connected = true;
  onCoordinatorRequest: (request: CoordinatorRequest, nodeId: number) => Reaction | Promise<Reaction> = () =>
    undefined;
  #nextProducerId = 1000;
  #lastBatch = new Map<number, Batch>();

  constructor(leaders: Readonly<Record<number, number>>) {
    this.leaders = new Map(Object.entries(leaders).map(([partition, leader]) => [Number(partition), leader]));
    for (const partition of this.leaders.keys()) this.logs.set(partition, []);
    for (const nodeId of [1, 2]) this.brokers.set(nodeId, new FakeBroker(this, nodeId));
  }

  broker(nodeId: number): FakeBroker {
    return this.brokers.get(nodeId)!;
  }

  log(partition: number): readonly string[] {
    return this.logs.get(partition)!;
  }

  takeProducerId(): number {
    return this.#nextProducerId++;
  }

  /** Append a batch as a partition's leader: an error code, 0 when it is written or was before. */
  append(partition: number, batch: Batch, values: readonly string[]): number {
    if (batch.producerId >= 0) {
      const last = this.#lastBatch.get(partition);
      const known = last?.producerId === batch.producerId ? last : undefined;
      if (known?.firstSequence === batch.firstSequence && known.length === batch.length) return 0;
      const expected = known === undefined ? 0 : known.firstSequence + known.length;
      if (batch.firstSequence !== expected) return ERROR.outOfOrderSequence;
      this.#lastBatch.set(partition, batch);
    }
    this.logs.get(partition)!.push(...values);
    return 0;
  }

  isConnected(): boolean {
    return this.connected;
  }

  connect(): Promise<void> {
    this.reconnects++;
    this.connected = true;
    return Promise.resolve();
  }

  refreshMetadata(): Promise<void> {
    return Promise.resolve();
  }

  refreshMetadataIfNecessary(): Promise<void> {
    return Promise.resolve();
  }

  addMultipleTargetTopics(): Promise<void> {
    return Promise.resolve();
  }

  removeBroker(): void {
    // The fake brokers reconnect by themselves.
  }

  markOffsetAsCommitted(): void {
    // Only a consumer of the same client would look.
  }

  findTopicPartitionMetadata(): { partitionId: number; leader: number }[] {
    return [...this.leaders].map(([partitionId, leader]) => ({ partitionId, leader }));
  }

  findLeaderForPartitions(_topic: string, partitions: readonly (number | string)[]): Partial<Record<string, number[]>> {
    const found: Partial<Record<string, number[]>> = {};
    for (const partition of partitions.map(Number)) {
      const leader = this.leaders.get(partition);
      if (leader !== undefined) (found[leader] ??= []).push(partition);
    }
    return found;
  }

  findBroker({ nodeId }: { nodeId: number | string }): Promise<FakeBroker> {
    return Promise.resolve(this.broker(Number(nodeId)));
  }

  findConnectedBroker(): Promise<FakeBroker> {
    return Promise.resolve(this.broker(1));
  }

  findGroupCoordinator(): Promise<FakeBroker> {
    this.lookups++;
    return Promise.resolve(this.broker(this.coordinator));
  }
}

export class FakeBroker {
  readonly cluster: FakeCluster;
  readonly nodeId: number;
  /** Every produce request that came, as `partition: values`. */
  readonly produced: string[] = [];
  /** Called when a request came, before anything is written: error codes per partition, or throw. */
  beforeAppend: (attempt: number) => Promise<Record<number, number>> | Record<number, number> = () => ({});
  /** Called when everything is written, before the answer; a throw loses the answer. */
  beforeAnswer: (attempt: number) => Promise<void> | void = () => undefined;

  constructor(cluster: FakeCluster, nodeId: number) {
    this.cluster = cluster;
    this.nodeId = nodeId;
  }

  async produce({ producerId, topicData }: ProduceRequest): Promise<ProduceResponse> {
    const attempt = this.produced.length + 1;
    const partitions = topicData.flatMap((topic) => topic.partitions);
    const valuesOf = ({ messages }: { messages: readonly { value: unknown }[] }): string[] =>
      messages.map(({ value }) => String(value));
    this.produced.push(partitions.map((entry) => `${entry.partition}: ${valuesOf(entry).join()}`).join('; '));
    const refused = await this.beforeAppend(attempt);
    const answers = partitions.map((entry) => {
      const { partition, messages, firstSequence } = entry;
      const isLeader = this.cluster.leaders.get(partition) === this.nodeId;
      const errorCode =
        refused[partition] ??
        (isLeader
          ? this.cluster.append(
              partition,
              { producerId, firstSequence, length: messages.length },
              valuesOf(entry),
            )
          : ERROR.notLeader);
      return { partition, errorCode, baseOffset: '0' };
    });
    await this.beforeAnswer(attempt);
    return parseProduceResponse({ topics: [{ topicName: TOPIC, partitions: answers }] });
  }

  async initProducerId(): Promise<{ producerId: number; producerEpoch: number }> {
    await this.#coordinate('initProducerId');
    return { producerId: this.cluster.takeProducerId(), producerEpoch: 0 };
  }

  addPartitionsToTxn(): Promise<void> {
    return this.#coordinate('addPartitions');
  }

  addOffsetsToTxn(): Promise<void> {
    return this.#coordinate('addOffsets');
  }

  txnOffsetCommit(): Promise<void> {
    return this.#coordinate('commitOffsets');
  }

  endTxn(): Promise<void> {
    return this.#coordinate('endTxn');
  }

  async #coordinate(request: CoordinatorRequest): Promise<void> {
    const code = await this.cluster.onCoordinatorRequest(request, this.nodeId);
    if (code !== undefined) throw brokerError(code);
  }
}
