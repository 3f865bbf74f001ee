import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { countDroppedLines } from '../../process/log.ts';

/** The metrics of the sink. No label is a user or a resource. */
export interface SinkMetrics {
  readonly registry: Registry;
  /** By `result`: inserted, updated, or unchanged (a redelivery, or older than what is stored). */
  readonly events: Counter<'result'>;
  /** By `reason`: records that were set aside in the table sink_rejects. */
  readonly skipped: Counter<'reason'>;
  readonly upsertSeconds: Histogram;
  /** From receipt at the ingress to the stored row; redeliveries count again. */
  readonly delaySeconds: Histogram;
  /** 0 while the sink holds its position because the database does not answer. */
  readonly databaseUp: Gauge;
  /** By partition and reason: for how long something that should move has not. */
  readonly stalledSeconds: Gauge<'topic' | 'partition' | 'reason'>;
}

/** The metrics of one sink, with those of its Node process. */
export function sinkMetrics(): SinkMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  countDroppedLines(registry);
  return {
    registry,
    events: new Counter({
      name: 'sink_events_total',
      help: 'Events read, by result in the database',
      labelNames: ['result'],
      registers,
    }),
    skipped: new Counter({
      name: 'sink_skipped_records_total',
      help: 'Records set aside in the table sink_rejects, by reason',
      labelNames: ['reason'],
      registers,
    }),
    upsertSeconds: new Histogram({
      name: 'sink_upsert_duration_seconds',
      help: 'Time of one batch in the database, retries of halves included',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 20],
      registers,
    }),
    delaySeconds: new Histogram({
      name: 'sink_event_delay_seconds',
      help: 'Time from receipt at the ingress to the stored row',
      buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600],
      registers,
    }),
    databaseUp: new Gauge({
      name: 'sink_database_up',
      help: '1 while the database takes batches, 0 while the sink waits for it',
      registers,
    }),
    stalledSeconds: new Gauge({
      name: 'sink_stalled_seconds',
      help: 'For how long something that should move has not',
      labelNames: ['topic', 'partition', 'reason'],
      registers,
    }),
  };
}
