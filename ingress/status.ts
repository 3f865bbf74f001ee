import {
  AggregatorRegistry,
  type MetricObjectWithValues,
  type MetricValue,
  type Registry,
} from 'prom-client';

/** The answer of /health. */
export interface Health {
  readonly status: 'healthy' | 'degraded';
  readonly service: string;
  readonly version: string;
  readonly enhancements: {
    readonly circuit_breaker: 'operational' | 'open' | 'half_open';
    readonly enhanced_kafka_producer: 'operational' | 'failing';
    readonly production_settings: 'active';
  };
  /** null for what is not configured. */
  readonly connections: {
    readonly postgres: boolean | null;
    readonly redis: boolean | null;
    readonly kafka: boolean | null;
  };
}

/** The metrics of one process, as prom-client tells them. */
export type Metrics = readonly MetricObjectWithValues<MetricValue<string>>[];

/** What a process of a group tells of itself. */
export interface Status {
  readonly isReady: boolean;
  readonly health: Health;
  readonly metrics: Metrics;
}

/** What a group tells of itself: the health of those that run, and the metrics of those that ran, too. */
export interface GroupStatus {
  readonly health: readonly Health[];
  readonly metrics: readonly Metrics[];
}

/** The health of a group: as good as that of its worst process; undefined of a group without any. */
export function groupHealth(all: readonly Health[]): Health | undefined {
  const [first] = all;
  if (first === undefined) return undefined;
  const worst = <T>(read: (one: Health) => T, ...order: readonly T[]): T =>
    order.find((value) => all.some((one) => read(one) === value)) ?? read(first);
  const connection = (name: keyof Health['connections']): boolean | null =>
    worst((one) => one.connections[name], false, true, null);
  return {
    ...first,
    status: worst((one) => one.status, 'degraded', 'healthy'),
    enhancements: {
      circuit_breaker: worst((one) => one.enhancements.circuit_breaker, 'open', 'half_open', 'operational'),
      enhanced_kafka_producer: worst(
        (one) => one.enhancements.enhanced_kafka_producer,
        'failing',
        'operational',
      ),
      production_settings: 'active',
    },
    connections: {
      postgres: connection('postgres'),
      redis: connection('redis'),
      kafka: connection('kafka'),
    },
  };
}

/** The metrics of several processes in one registry: counters, histograms and levels are sums. */
export function groupMetrics(all: readonly Metrics[]): Registry {
  return AggregatorRegistry.aggregate(all.map((metrics) => [...metrics]));
}

/** Of the metrics of a process that has ended, those that a sum may not lose, or counters would run backwards. */
export function whatStays(metrics: Metrics): Metrics {
  // The types of prom-client's metrics are words here, not its enum.
  const kept: readonly unknown[] = ['counter', 'histogram'];
  return metrics.filter(({ type }) => kept.includes(type));
}
