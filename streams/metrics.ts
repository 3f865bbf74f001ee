import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { RestoreListener } from './restore.ts';
import type { ProcessingListener } from './tally.ts';

/** The states of a KafkaStreams, as in Kafka Streams. */
export type State = 'CREATED' | 'REBALANCING' | 'RUNNING' | 'PENDING_SHUTDOWN' | 'NOT_RUNNING' | 'ERROR';

/** What the library tells about itself. Implement it for any metrics system; the one for prom-client is below. */
export interface StreamsMetrics extends ProcessingListener, RestoreListener {
  /** A transaction was committed: its records, its time from begin, the part of it in operators, its oldest record's age. */
  onCommit(commit: {
    records: number;
    durationMs: number;
    processMs: number;
    oldestRecordAgeMs: number | undefined;
  }): void;
  /** Records between the position and the end of a source partition. */
  onLag(topic: string, partition: number, records: bigint): void;
  /** A partition is no longer ours. */
  onRevoked(topic: string, partition: number): void;
  /** What stands in one partition of a store, in bytes of keys and values. */
  onStore(store: string, partition: number, entries: number, bytes: number): void;
  /** A partition of a store is no longer here. */
  onStoreClosed(store: string, partition: number): void;
  onRebalance(tasks: number): void;
  /** A transaction failed and was settled; `reason` is Kafka's name of the error, or `unknown`. */
  onRecovery(reason: string): void;
  onState(state: State): void;
}

/** Says nothing. */
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
};

/** Registers the library's metrics in `registry` and feeds them. Labels are operators, topics, partitions and codes. */
export function promMetrics(registry: Registry): StreamsMetrics {
  const registers = [registry];
  const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
    new Counter({ name, help, labelNames, registers });
  const buckets = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30];
  const gauge = (name: string, help: string, labelNames: string[]): Gauge =>
    new Gauge({ name, help, labelNames, registers });
  const processed = counter('stream_processed_records_total', 'Values that entered an operator of a task', [
    'task',
    'node',
  ]);
  const dropped = counter('stream_dropped_records_total', 'Values that ended in an operator', [
    'node',
    'reason',
  ]);
  const dead = counter('stream_dead_lettered_records_total', 'Records sent to the dead-letter topic', [
    'node',
    'code',
  ]);
  const commits = new Histogram({
    name: 'stream_commit_duration_seconds',
    help: 'Begin to commit',
    buckets,
    registers,
  });
  const processing = new Histogram({
    name: 'stream_process_duration_seconds',
    help: 'Time in operators per record, averaged over each transaction',
    buckets: [0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.01, 0.1],
    registers,
  });
  const committed = counter('stream_committed_records_total', 'Records in committed transactions');
  const endToEnd = new Histogram({
    name: 'stream_end_to_end_latency_seconds',
    help: 'Record timestamp to commit, of the oldest record of each transaction',
    buckets,
    registers,
  });
  const place = ['topic', 'partition'];
  const lag = gauge(
    'stream_lag_records',
    'Records between the position and the high watermark of a source partition',
    place,
  );
  const storePlace = ['store', 'partition'];
  const entries = gauge('stream_store_entries', 'Entries of a store', storePlace);
  const bytes = gauge('stream_store_bytes', 'Bytes of keys and values of a store', storePlace);
  const restored = counter('stream_restored_records_total', 'Changelog records taken in', ['store']);
  const remaining = gauge(
    'stream_restore_remaining_records',
    'Changelog records still to be read',
    storePlace,
  );
  const rebalances = counter('stream_rebalances_total', 'Assignments received');
  const tasks = new Gauge({ name: 'stream_tasks', help: 'Tasks assigned', registers });
  const recoveries = counter('stream_recoveries_total', 'Transactions settled after a failure', ['reason']);
  const state = gauge('stream_state', '1 for the current state', ['state']);
  let last: State | undefined;
  return {
    onProcessed: (task, node, count) => processed.inc({ task, node }, count),
    onDropped: (node, reason, count) => dropped.inc({ node, reason }, count),
    onDeadLettered: (node, code, count) => dead.inc({ node, code }, count),
    onCommit: ({ records, durationMs, processMs, oldestRecordAgeMs }) => {
      commits.observe(durationMs / 1_000);
      if (records > 0) processing.observe(processMs / 1_000 / records);
      committed.inc(records);
      if (oldestRecordAgeMs !== undefined) endToEnd.observe(Math.max(0, oldestRecordAgeMs) / 1_000);
    },
    onLag: (topic, partition, records) => lag.set({ topic, partition: String(partition) }, Number(records)),
    onRevoked: (topic, partition) => lag.remove({ topic, partition: String(partition) }),
    onStore: (store, partition, count, size) => {
      entries.set({ store, partition: String(partition) }, count);
      bytes.set({ store, partition: String(partition) }, size);
    },
    onStoreClosed: (store, partition) => {
      const labels = { store, partition: String(partition) };
      for (const metric of [entries, bytes, remaining]) metric.remove(labels);
    },
    onRestore: (store, partition, count, left) => {
      restored.inc({ store }, count);
      remaining.set({ store, partition: String(partition) }, left);
    },
    onRebalance: (count) => {
      rebalances.inc();
      tasks.set(count);
    },
    onRecovery: (reason) => recoveries.inc({ reason }),
    onState: (now) => {
      if (last !== undefined) state.set({ state: last }, 0);
      state.set({ state: now }, 1);
      last = now;
    },
  };
}
