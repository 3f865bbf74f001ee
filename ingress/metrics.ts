import {
  AggregatorRegistry,
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
  type MetricObjectWithValues,
  type MetricValue,
} from 'prom-client';
import type { SendReport } from '../kafka/append-lane.ts';
import { countDroppedLines } from '../process/log.ts';
import type { Outcome } from './webhook.ts';

/** Gauges sampled on scrape. */
export interface Gauges {
  readonly inHand: () => number;
  readonly waiting: () => number;
  readonly largeBodyBytes: () => number;
  readonly connections: () => number;
  readonly breakerOpen: () => boolean;
}

/** The metrics of an ingress. */
export interface IngressMetrics {
  readonly registry: Registry;
  webhookDone(done: { readonly device: string; readonly outcome: Outcome; readonly seconds: number }): void;
  sendDone(report: SendReport): void;
  breakerOpened(): void;
}

const names = {
  webhooks: 'bridge_ingress_webhooks_total',
  duration: 'bridge_ingress_webhook_duration_seconds',
  records: 'bridge_ingress_raw_records_total',
  openings: 'bridge_ingress_breaker_openings_total',
  connections: 'bridge_ingress_connections',
} as const;

/** Creates the metrics in their own registry. All labels are bounded: devices, outcomes, topics. */
export function createMetrics(gauges: Gauges): IngressMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  countDroppedLines(registry);
  const registers = [registry];
  const webhooks = new Counter({
    name: names.webhooks,
    help: 'Webhooks by outcome: processed, or the problem code of the answer',
    labelNames: ['device', 'outcome'],
    registers,
  });
  const duration = new Histogram({
    name: names.duration,
    help: 'Time from the headers of a request to its answer',
    labelNames: ['device'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const records = new Counter({
    name: names.records,
    help: 'Records acknowledged by the broker',
    labelNames: ['topic'],
    registers,
  });
  const sends = new Counter({
    name: 'bridge_ingress_sends_total',
    help: 'Produce requests by result: acknowledged, too_large, failed',
    labelNames: ['result'],
    registers,
  });
  const sendDuration = new Histogram({
    name: 'bridge_ingress_send_duration_seconds',
    help: 'Time from handing a batch to the client to its acknowledgement or failure',
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const sendRecords = new Histogram({
    name: 'bridge_ingress_send_records',
    help: 'Records per send',
    buckets: [1, 2, 5, 10, 25, 50, 100, 250],
    registers,
  });
  const openings = new Counter({ name: names.openings, help: 'Times the breaker opened', registers });
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('bridge_ingress_webhooks_in_hand', 'Webhooks being read, verified or appended', gauges.inHand);
  gauge('bridge_ingress_webhooks_waiting', 'Webhooks waiting in the admission queue', gauges.waiting);
  gauge('bridge_ingress_large_body_bytes', 'Bytes of bodies over 64 KiB in memory', gauges.largeBodyBytes);
  gauge(names.connections, 'Open connections', gauges.connections);
  gauge('bridge_ingress_breaker_open', '1 while webhooks are refused because the log failed', () =>
    gauges.breakerOpen() ? 1 : 0,
  );

  return {
    registry,
    webhookDone({ device, outcome, seconds }) {
      webhooks.inc({ device, outcome });
      duration.observe({ device }, seconds);
    },
    sendDone({ result, batch, seconds }) {
      sends.inc({ result });
      sendDuration.observe(seconds);
      sendRecords.observe(batch.length);
      if (result === 'acknowledged') for (const { topic } of batch) records.inc({ topic });
    },
    breakerOpened: () => openings.inc(),
  };
}

/** A summary of the metrics, for `curl` and `jq`. */
export interface MetricsSummary {
  /** Webhooks answered with 200. */
  readonly processed_webhooks_total: number;
  readonly circuit_breaker_openings: number;
  /** Records that the broker has acknowledged. */
  readonly kafka_events_sent: number;
  /** Mean seconds per answered webhook; 0 before the first. */
  readonly average_processing_time: number;
  readonly active_connections: number;
  /** The share of webhooks answered with an error, 0 to 1; 0 before the first. */
  readonly error_rate: number;
}

/** Summarizes the registry. */
export async function summarize(registry: Registry): Promise<MetricsSummary> {
  const metrics = await registry.getMetricsAsJSON();
  const sum = (name: string, wanted: (sample: Sample) => boolean = () => true): number => {
    const values: readonly Sample[] = metrics.find((metric) => metric.name === name)?.values ?? [];
    return values.filter(wanted).reduce((total, { value }) => total + value, 0);
  };
  const all = sum(names.webhooks);
  const processed = sum(names.webhooks, ({ labels }) => labels['outcome'] === 'processed');
  const seconds = sum(names.duration, ({ metricName }) => metricName === `${names.duration}_sum`);
  return {
    processed_webhooks_total: processed,
    circuit_breaker_openings: sum(names.openings),
    kafka_events_sent: sum(names.records),
    average_processing_time: all === 0 ? 0 : seconds / all,
    active_connections: sum(names.connections),
    error_rate: all === 0 ? 0 : (all - processed) / all,
  };
}

interface Sample {
  readonly value: number;
  readonly labels: Readonly<Partial<Record<string, string | number>>>;
  readonly metricName?: string;
}

/**
 * Whether an Accept header asks for Prometheus text rather than JSON: it does when it names text/plain or OpenMetrics, as
 * every Prometheus does, or text/html, as browsers do; not for `application/json` or the bare wildcard that curl sends.
 */
export function wantsText(accept: string | undefined): boolean {
  return /text\/plain|openmetrics|text\/html/i.test(accept ?? '');
}

/** The metrics of one process, as prom-client exports them. */
export type Metrics = readonly MetricObjectWithValues<MetricValue<string>>[];

/** Merges the metrics of several processes into one registry; counters, histograms and gauges are summed. */
export function groupMetrics(all: readonly Metrics[]): Registry {
  return AggregatorRegistry.aggregate(all.map((metrics) => [...metrics]));
}

/** The metrics of an ended process that its group's sums must keep, or counters would run backwards. */
export function cumulative(metrics: Metrics): Metrics {
  // prom-client exports types as strings here, not as its enum.
  const kept: readonly unknown[] = ['counter', 'histogram'];
  return metrics.filter(({ type }) => kept.includes(type));
}
