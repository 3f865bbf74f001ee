import { createServer, type IncomingMessage } from 'node:http';
import { within } from './deadline.ts';
import { listening } from './listening.ts';
import { originForm } from './request-target.ts';

/** The probes of a process; each returns `ok`, or a description of the fault. */
export interface Probes {
  /** Anything but `ok` makes the orchestrator restart the process: only for faults that do not heal by themselves. */
  live(): string;
  /** Whether the process can do its work now. */
  ready(): Promise<string> | string;
}

/** The source of the metrics: a registry of prom-client, or several together. */
export interface MetricsSource {
  readonly contentType: string;
  metrics(): Promise<string>;
}

/** A small HTTP server for /livez, /readyz and /metrics of the processes that have no other HTTP. */
export interface AdminServer {
  readonly port: number;
  close(): Promise<void>;
}

interface Answer {
  readonly status: number;
  /** Default text. */
  readonly type?: string;
  readonly body: string;
}

const answerMs = 10_000;
/** Node answers what exceeds them with 431 or 408, and what it cannot parse with 400. */
const limits = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 10_000,
  requestTimeout: 10_000,
  connectionsCheckingInterval: 2_000,
};

/**
 * Serves the probes (200 `ok` or 503 with the reason, as text) and the metrics as Prometheus text.
 * @param options.port - 0 takes any free port; the result names it.
 * @throws Error naming the port when it is taken.
 */
export async function startAdmin(options: {
  port: number;
  host: string;
  metrics: MetricsSource;
  probes: Probes;
}): Promise<AdminServer> {
  const answer = async (request: IncomingMessage): Promise<Answer> => {
    if (request.method !== 'GET' && request.method !== 'HEAD')
      return { status: 405, body: 'use GET or HEAD\n' };
    const path = originForm(request.url ?? '')?.replace(/\?.*$/, '');
    if (path === '/metrics') {
      return { status: 200, type: options.metrics.contentType, body: await options.metrics.metrics() };
    }
    if (path === '/livez' || path === '/readyz') {
      const state = path === '/livez' ? options.probes.live() : await options.probes.ready();
      return { status: state === 'ok' ? 200 : 503, body: `${state}\n` };
    }
    return { status: 404, body: 'try /livez, /readyz or /metrics\n' };
  };
  const server = createServer(limits, (request, response) => {
    within(answer(request), answerMs, 'the answer')
      .catch((): Answer => ({ status: 500, body: 'the answer could not be made\n' }))
      .then(({ status, type = 'text/plain; charset=utf-8', body }) => {
        const allow = status === 405 ? { allow: 'GET, HEAD' } : {};
        response.writeHead(status, { 'content-type': type, ...allow }).end(body);
      })
      .catch(() => response.destroy());
  });
  server.maxConnections = 100;
  const { port } = await listening(server, 'ADMIN_PORT', options.port, options.host);
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
