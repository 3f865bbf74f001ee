import type { Registry } from 'prom-client';
import type { Check } from './checks.ts';
import { summarize, wantsText } from './metrics.ts';
import { sendJson, sendProblem, sendText } from './problems.ts';
import type { RawLog } from './raw-log.ts';
import type { Handler } from './webhook.ts';

/** What the probes look at. */
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
 * `/health`, for people: 200 when everything configured works, else 503 with `"status":"degraded"`.
 * `production_settings` names what cannot be switched off here: verification before anything else, bounded
 * concurrency and sizes, acknowledgement by all in-sync replicas.
 */
export function health(deps: HealthDeps): Handler {
  return (request, response) => {
    const breaker = deps.rawLog.breaker.state;
    const connections = {
      postgres: works(deps.postgres),
      redis: works(deps.redis),
      kafka: works(deps.kafka),
    };
    const enhancements = {
      circuit_breaker: breaker === 'closed' ? 'operational' : breaker,
      enhanced_kafka_producer: deps.rawLog.healthy ? 'operational' : 'failing',
      production_settings: 'active',
    };
    const healthy =
      breaker === 'closed' && deps.rawLog.healthy && !Object.values(connections).includes(false);
    sendJson(request, response, healthy ? 200 : 503, {
      status: healthy ? 'healthy' : 'degraded',
      service: deps.service,
      version: deps.version,
      enhancements,
      connections,
    });
  };
}

/** `/health` on the public port when the details have a port of their own. */
export function healthStatus(deps: HealthDeps): Handler {
  return (request, response) => {
    const healthy = deps.kafka.state === 'ok' && deps.rawLog.breaker.state === 'closed';
    sendJson(request, response, healthy ? 200 : 503, {
      status: healthy ? 'healthy' : 'degraded',
      service: deps.service,
    });
  };
}

/** `/livez`: an answer at all is the answer. Restarting the process mends no broker. */
export const livez: Handler = (request, response) => sendText(request, response, 200, text, 'ok\n');

/** `/readyz`: whether webhooks should be sent here. Postgres, Redis and the registry have no say in it. */
export function readyz(deps: HealthDeps): Handler {
  return (request, response) => {
    if (deps.draining()) sendProblem(request, response, 'stopping');
    else if (deps.kafka.state === 'ok') sendText(request, response, 200, text, 'ok\n');
    else sendProblem(request, response, 'not_ready', { detail: deps.kafka.state });
  };
}

/** `/metrics`: Prometheus text, or the summary as JSON, by the Accept header. */
export function metrics(registry: Registry): Handler {
  return async (request, response) => {
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
