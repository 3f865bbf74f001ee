import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { ProcessingListener } from './processor.ts';

/** The states of a KafkaStreams, as in Kafka Streams. */
export type State = 'CREATED' | 'REBALANCING' | 'RUNNING' | 'PENDING_SHUTDOWN' | 'NOT_RUNNING' | 'ERROR';

/** What the library tells about itself. Implement it for any metrics system; the one for prom-client is below. */
export interface StreamsMetrics extends ProcessingListener {
  /** A transaction was committed: its records, how long it took from begin, and the age of its oldest record. */
  onCommit(commit: { records: number; durationMs: number; oldestRecordAgeMs: number | undefined }): void;
  /** Records between the position and the end of a source partition. */
  onLag(topic: string, partition: number, records: bigint): void;
  /** A partition is no longer ours. */
  onRevoked(topic: string, partition: number): void;
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
  const processed = counter('stream_processed_records_total', 'Values that entered an operator', ['node']);
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
  const committed = counter('stream_committed_records_total', 'Records in committed transactions');
  const endToEnd = new Histogram({
    name: 'stream_end_to_end_latency_seconds',
    help: 'Record timestamp to commit, of the oldest record of each transaction',
    buckets,
    registers,
  });
  const lag = new Gauge({
    name: 'stream_lag_records',
    help: 'Records between the position and the high watermark of a source partition',
    labelNames: ['topic', 'partition'],
    registers,
  });
  const rebalances = counter('stream_rebalances_total', 'Assignments received');
  const tasks = new Gauge({ name: 'stream_tasks', help: 'Tasks assigned', registers });
  const recoveries = counter('stream_recoveries_total', 'Transactions settled after a failure', ['reason']);
  const state = new Gauge({
    name: 'stream_state',
    help: '1 for the current state',
    labelNames: ['state'],
    registers,
  });
  let last: State | undefined;
  return {
    onProcessed: (node) => processed.inc({ node }),
    onDropped: (node, reason) => dropped.inc({ node, reason }),
    onDeadLettered: (node, code) => dead.inc({ node, code }),
    onCommit: ({ records, durationMs, oldestRecordAgeMs }) => {
      commits.observe(durationMs / 1_000);
      committed.inc(records);
      if (oldestRecordAgeMs !== undefined) endToEnd.observe(Math.max(0, oldestRecordAgeMs) / 1_000);
    },
    onLag: (topic, partition, records) => lag.set({ topic, partition: String(partition) }, Number(records)),
    onRevoked: (topic, partition) => lag.remove({ topic, partition: String(partition) }),
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
