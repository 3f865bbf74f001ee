import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

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
  const answer = async (path: string): Promise<{ status: number; type: string; body: string }> => {
    if (path === '/metrics') {
      return { status: 200, type: options.metrics.contentType, body: await options.metrics.metrics() };
    }
    if (path === '/livez' || path === '/readyz') {
      const state = path === '/livez' ? options.probes.live() : await options.probes.ready();
      return { status: state === 'ok' ? 200 : 503, type: 'text/plain; charset=utf-8', body: `${state}\n` };
    }
    return { status: 404, type: 'text/plain; charset=utf-8', body: 'try /livez, /readyz or /metrics\n' };
  };
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname;
    answer(path).then(
      ({ status, type, body }) => response.writeHead(status, { 'content-type': type }).end(body),
      () => response.writeHead(500).end(),
    );
  });
  await listen(server, options.port, options.host);
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(
        error.code === 'EADDRINUSE'
          ? new Error(`ADMIN_PORT ${port} is taken on ${host}: set another, or 0 for any free port`)
          : error,
      );
    });
    server.listen(port, host, resolve);
  });
}
