import type { Registry } from 'prom-client';
import type { Check } from './checks.ts';
import { summarize, wantsText } from './metrics.ts';
import { sendJson, sendProblem, sendText } from './response.ts';
import type { RawLog } from './raw-log.ts';
import type { Handler } from './webhook.ts';

/** The response of /health. */
export interface Health {
  readonly status: 'healthy' | 'degraded';
  readonly service: string;
  readonly version: string;
  readonly enhancements: {
    readonly circuit_breaker: 'operational' | 'open' | 'half_open';
    readonly enhanced_kafka_producer: 'operational' | 'failing';
    readonly production_settings: 'active';
  };
  /** null where not configured. */
  readonly connections: {
    readonly postgres: boolean | null;
    readonly redis: boolean | null;
    readonly kafka: boolean | null;
  };
}

/** The inputs of the probes. */
export interface HealthDeps {
  readonly service: string;
  readonly version: string;
  readonly rawLog: Pick<RawLog, 'breaker' | 'healthy'>;
  readonly kafka: Pick<Check, 'state'>;
  /** Absent when not configured: the ingress itself needs neither. */
  readonly postgres: Pick<Check, 'state'> | undefined;
  readonly redis: Pick<Check, 'state'> | undefined;
  readonly draining: () => boolean;
}

/**
 * Describes the health of this process: healthy when everything configured works. `production_settings` covers what
 * cannot be switched off: verification before anything else, bounded concurrency and sizes, acknowledgement by all
 * in-sync replicas.
 */
export function healthOf(deps: HealthDeps): Health {
  const breaker = deps.rawLog.breaker.state;
  const connections = {
    postgres: works(deps.postgres),
    redis: works(deps.redis),
    kafka: works(deps.kafka),
  };
  const healthy = breaker === 'closed' && deps.rawLog.healthy && !Object.values(connections).includes(false);
  return {
    status: healthy ? 'healthy' : 'degraded',
    service: deps.service,
    version: deps.version,
    enhancements: {
      circuit_breaker: breaker === 'closed' ? 'operational' : breaker,
      enhanced_kafka_producer: deps.rawLog.healthy ? 'operational' : 'failing',
      production_settings: 'active',
    },
    connections,
  };
}

/** The health of a group, that of its worst process; undefined for an empty group. */
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

/** `/health`: 200 when healthy, 503 when degraded, with the details either way. */
export function health(read: () => Promise<Health | undefined> | Health): Handler {
  return async (request, response) => {
    const found = await read();
    if (found === undefined) sendProblem(request, response, 'not_ready');
    else sendJson(request, response, found.status === 'healthy' ? 200 : 503, found);
  };
}

/** `/health` on the public port when ADMIN_PORT serves the details. */
export function healthStatus(deps: HealthDeps): Handler {
  return (request, response) => {
    const healthy = deps.kafka.state === 'ok' && deps.rawLog.breaker.state === 'closed';
    sendJson(request, response, healthy ? 200 : 503, {
      status: healthy ? 'healthy' : 'degraded',
      service: deps.service,
    });
  };
}

/** `/livez`: 200 while the process answers at all. A restart does not fix a broker. */
export const livez: Handler = (request, response) => sendText(request, response, 200, text, 'ok\n');

/**
 * `/readyz`: whether to send webhooks here. Postgres, Redis and the registry do not count.
 * @param state - `ok`, `stopping`, or a description of the fault.
 */
export function readyz(state: () => Promise<string> | string): Handler {
  return async (request, response) => {
    const found = await state();
    if (found === 'ok') sendText(request, response, 200, text, 'ok\n');
    else if (found === 'stopping') sendProblem(request, response, 'stopping');
    else sendProblem(request, response, 'not_ready', { detail: found });
  };
}

/** The state of this process for `/readyz`. */
export function readiness(deps: Pick<HealthDeps, 'draining' | 'kafka'>): string {
  return deps.draining() ? 'stopping' : deps.kafka.state;
}

/** `/metrics`: Prometheus text, or the summary as JSON, by the Accept header. */
export function metrics(read: () => Promise<Registry> | Registry): Handler {
  return async (request, response) => {
    const registry = await read();
    if (wantsText(request.headers.accept)) {
      sendText(request, response, 200, registry.contentType, await registry.metrics());
    } else {
      sendJson(request, response, 200, await summarize(registry));
    }
  };
}

function works(check: Pick<Check, 'state'> | undefined): boolean | null {
  return check === undefined ? null : check.state === 'ok';
}

const text = 'text/plain; charset=utf-8';
