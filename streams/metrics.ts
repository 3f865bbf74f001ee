import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Stall } from '../kafka/progress.ts';
import type { ProcessingListener } from './tally.ts';

/** The states of a KafkaStreams, as in Kafka Streams. */
export type State = 'CREATED' | 'REBALANCING' | 'RUNNING' | 'PENDING_SHUTDOWN' | 'NOT_RUNNING' | 'ERROR';

/** What the library reports. Implement it for any metrics system; promMetrics() is the one for prom-client. */
export interface StreamsMetrics extends ProcessingListener {
  /** A transaction was committed. `durationMs` counts from its begin; `processMs` is the part spent in operators. */
  onCommit(commit: {
    records: number;
    durationMs: number;
    processMs: number;
    oldestRecordAgeMs: number | undefined;
  }): void;
  /** Records between the position and the end of a source partition: after a commit, and every second. */
  onLag(topic: string, partition: number, records: bigint): void;
  /** A source partition was taken away. */
  onRevoked(topic: string, partition: number): void;
  /** Changelog records were restored; `remaining` offsets of this partition are still to be read. */
  onRestore(store: string, partition: number, records: number, remaining: number): void;
  /** The size of one partition of a store; `bytes` are those of keys and values. */
  onStore(store: string, partition: number, entries: number, bytes: number): void;
  /** A partition of a store was taken away. */
  onStoreClosed(store: string, partition: number): void;
  onRebalance(tasks: number): void;
  /** A transaction failed and was settled; `reason` is Kafka's name of the error, or `unknown`. */
  onRecovery(reason: string): void;
  onState(state: State): void;
  /** Called every second with what stands still: mostly nothing. */
  onStalls(stalls: readonly Stall[]): void;
}

/** Reports nothing. */
export const noMetrics: StreamsMetrics = {
  onProcessed: () => undefined,
  onDropped: () => undefined,
  onDeadLettered: () => undefined,
  onCommit: () => undefined,
  onLag: () => undefined,
  onRevoked: () => undefined,
  onRestore: () => undefined,
  onStore: () => undefined,
  onStoreClosed: () => undefined,
  onRebalance: () => undefined,
  onRecovery: () => undefined,
  onState: () => undefined,
  onStalls: () => undefined,
};

const latencyBuckets = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
const processBuckets = [0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.01, 0.1];
const place = ['topic', 'partition'];
const storePlace = ['store', 'partition'];

function register(registry: Registry) {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
    new Counter({ name, help, labelNames, registers });
  const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
    new Gauge({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, buckets: number[]): Histogram =>
    new Histogram({ name, help, buckets, registers });
  return {
    processed: counter('stream_processed_records_total', 'Values that entered an operator of a task', [
      'task',
      'node',
    ]),
    dropped: counter('stream_dropped_records_total', 'Values that ended in an operator', ['node', 'reason']),
    dead: counter('stream_dead_lettered_records_total', 'Records sent to the dead-letter topic', [
      'node',
      'code',
    ]),
    commits: histogram('stream_commit_duration_seconds', 'Begin to commit', latencyBuckets),
    processing: histogram(
      'stream_process_duration_seconds',
      'Time in operators per record, averaged over each transaction',
      processBuckets,
    ),
    committed: counter('stream_committed_records_total', 'Records in committed transactions'),
    endToEnd: histogram(
      'stream_end_to_end_latency_seconds',
      'Record timestamp to commit, of the oldest record of each transaction',
      latencyBuckets,
    ),
    lag: gauge(
      'stream_lag_records',
      'Records between the position and the high watermark of a source partition',
      place,
    ),
    entries: gauge('stream_store_entries', 'Entries of a store', storePlace),
    bytes: gauge('stream_store_bytes', 'Bytes of keys and values of a store', storePlace),
    restored: counter('stream_restored_records_total', 'Changelog records restored', ['store']),
    remaining: gauge('stream_restore_remaining_records', 'Changelog records still to be read', storePlace),
    rebalances: counter('stream_rebalances_total', 'Assignments received'),
    tasks: gauge('stream_tasks', 'Tasks assigned'),
    recoveries: counter('stream_recoveries_total', 'Transactions settled after a failure', ['reason']),
    state: gauge('stream_state', '1 for the current state', ['state']),
    stalled: gauge('stream_stalled_seconds', 'For how long something that should move has not', [
      ...place,
      'reason',
    ]),
  };
}

/** Registers the library's metrics in `registry`. Labels are operators, topics, partitions and codes. */
export function promMetrics(registry: Registry): StreamsMetrics {
  const metrics = register(registry);
  let last: State | undefined;
  return {
    onProcessed: (task, node, count) => metrics.processed.inc({ task, node }, count),
    onDropped: (node, reason, count) => metrics.dropped.inc({ node, reason }, count),
    onDeadLettered: (node, code, count) => metrics.dead.inc({ node, code }, count),
    onCommit: ({ records, durationMs, processMs, oldestRecordAgeMs }) => {
      metrics.commits.observe(durationMs / 1_000);
      if (records > 0) metrics.processing.observe(processMs / 1_000 / records);
      metrics.committed.inc(records);
      if (oldestRecordAgeMs !== undefined) metrics.endToEnd.observe(Math.max(0, oldestRecordAgeMs) / 1_000);
    },
    onLag: (topic, partition, records) =>
      metrics.lag.set({ topic, partition: String(partition) }, Number(records)),
    onRevoked: (topic, partition) => metrics.lag.remove({ topic, partition: String(partition) }),
    onStore: (store, partition, entries, bytes) => {
      metrics.entries.set({ store, partition: String(partition) }, entries);
      metrics.bytes.set({ store, partition: String(partition) }, bytes);
    },
    onStoreClosed: (store, partition) => {
      for (const metric of [metrics.entries, metrics.bytes, metrics.remaining])
        metric.remove({ store, partition: String(partition) });
    },
    onRestore: (store, partition, records, remaining) => {
      metrics.restored.inc({ store }, records);
      metrics.remaining.set({ store, partition: String(partition) }, remaining);
    },
    onRebalance: (tasks) => {
      metrics.rebalances.inc();
      metrics.tasks.set(tasks);
    },
    onRecovery: (reason) => metrics.recoveries.inc({ reason }),
    onState: (state) => {
      if (last !== undefined) metrics.state.set({ state: last }, 0);
      metrics.state.set({ state }, 1);
      last = state;
    },
    onStalls: (stalls) => {
      metrics.stalled.reset();
      for (const { topic = '', partition = '', reason, stalledMs } of stalls)
        metrics.stalled.set({ topic, partition: String(partition), reason }, stalledMs / 1_000);
    },
  };
}
