import { nobody, type Leaders } from './append.ts';
import type { Admin, Kafka } from './client.ts';
import { partitionName } from './topic-partition.ts';

/** Knows which brokers lead the partitions of some topics, and where those brokers are. */
export interface LeaderDirectory {
  /** Asks the cluster, over one connection that stays open; rejects when no broker answers. */
  leaders(): Promise<Leaders>;
  /** `host:port` of a broker that `leaders` has named. */
  address(broker: number): string | undefined;
  stop(): Promise<void>;
}

export function createLeaderDirectory(kafka: Kafka, topics: readonly string[]): LeaderDirectory {
  const addresses = new Map<number, string>();
  let admin: Admin | undefined;
  const drop = async (): Promise<void> => {
    const dropped = admin;
    admin = undefined;
    await dropped?.disconnect().catch(() => undefined);
  };
  const ask = async (current: Admin): Promise<Leaders> => {
    await current.connect();
    const metadata = await current.fetchTopicMetadata({ topics: [...topics] });
    const leaders = new Map(
      metadata.topics.flatMap(({ name, partitions }) =>
        partitions.map(({ partitionId, leader }) => [
          partitionName({ topic: name, partition: partitionId }),
          leader < 0 ? nobody : leader,
        ]),
      ),
    );
    if ([...leaders.values()].some((leader) => leader !== nobody && !addresses.has(leader))) {
      for (const { nodeId, host, port } of (await current.describeCluster()).brokers) {
        addresses.set(nodeId, host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`);
      }
    }
    return leaders;
  };
  return {
    async leaders() {
      const current = (admin ??= kafka.admin());
      try {
        return await ask(current);
      } catch (error) {
        if (admin === current) void drop();
        throw error;
      }
    },
    address: (broker) => addresses.get(broker),
    stop: drop,
  };
}
