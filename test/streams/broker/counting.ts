import type { TestContext } from 'node:test';
import { changelogConfig } from '../../../streams/changelogs.ts';
import { serdes, StreamsBuilder, type StreamsOptions, type Topology } from '../../../streams/index.ts';
import { Cluster, type Started } from './cluster.ts';

/** Counts records per key. */
function counting(
  from: string,
  to: string,
  store: { retentionMs?: number; sweepAfterMs?: number } = {},
): Topology {
  const builder = new StreamsBuilder().addStateStore('counts', {
    key: serdes.utf8,
    value: serdes.utf8,
    ...store,
  });
  builder
    .stream('in', from, { key: serdes.utf8, value: serdes.utf8 })
    .processValues(
      'count',
      (value, { key }, { counts }) => {
        const count = Number(counts.get(key) ?? 0) + 1;
        counts.put(key, String(count));
        return [`${value} ${count}`];
      },
      { stores: ['counts'] },
    )
    .to('out', to, { value: serdes.utf8 });
  return builder.build();
}

/** An application with a store, on topics of its own: its counts show what its store held. */
export class Counting {
  readonly cluster: Cluster;
  readonly from: string;
  readonly to: string;
  readonly changelog: string;

  private constructor(cluster: Cluster, [from = '', to = '', changelog = '']: readonly string[]) {
    this.cluster = cluster;
    this.from = from;
    this.to = to;
    this.changelog = changelog;
  }

  static async create(
    t: TestContext,
    config: Readonly<Record<string, string>> = changelogConfig,
  ): Promise<Counting> {
    const cluster = await Cluster.open(t);
    const topics = await cluster.createTopics(['in', 'out']);
    const changelogs = await cluster.createTopics(['app-counts-changelog'], { config });
    return new Counting(cluster, [...topics, ...changelogs]);
  }

  start(options: Partial<StreamsOptions> = {}, store = {}): Promise<Started> {
    return this.cluster.start(counting(this.from, this.to, store), options);
  }

  async append(values: readonly string[], partition = 0, timestamp = Date.now()): Promise<void> {
    await this.cluster.append(
      values.map((value) => ({
        topic: this.from,
        partition,
        key: Buffer.from('k'),
        value: Buffer.from(value),
        timestamp,
      })),
    );
  }

  drained(): Promise<void> {
    return this.cluster.drained([this.from]);
  }

  /** What was counted in a partition, in order. */
  async counted(partition = 0): Promise<string[]> {
    const records = await this.cluster.read([this.to]);
    return records.filter((record) => record.partition === partition).map(({ value }) => String(value));
  }

  async ended(started: Started): Promise<string> {
    return started.streams.failed.catch((error: unknown) => {
      const { code, message } = error as { code?: string; message?: string };
      return `${code}: ${message}`;
    });
  }
}
