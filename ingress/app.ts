import express, { type ErrorRequestHandler, type Express } from 'express';
import { sendProblem } from './problems.ts';
import type { Handler } from './webhook.ts';

/** A path and what answers its methods. HEAD is answered as GET, OPTIONS by the methods themselves. */
export interface Route {
  readonly path: string;
  readonly methods: Readonly<Partial<Record<'GET' | 'POST', Handler>>>;
}

/** The handlers of an ingress. */
export interface Handlers {
  readonly oura: Handler;
  readonly ouraHandshake: Handler;
  readonly whoop: Handler;
  readonly terra: Handler;
  readonly healthkit: Handler;
  /** Absent when TEST_WEBHOOK is off. */
  readonly test: Handler | undefined;
  readonly livez: Handler;
  readonly readyz: Handler;
  /** With all details, or the status alone when the details have a port of their own. */
  readonly health: Handler;
  /** Absent when they have a port of their own. */
  readonly metrics: Handler | undefined;
}

/** Everything the public port serves. */
export function publicRoutes(handlers: Handlers): Route[] {
  return [
    { path: '/webhook/oura', methods: { GET: handlers.ouraHandshake, POST: handlers.oura } },
    { path: '/webhook/whoop', methods: { POST: handlers.whoop } },
    { path: '/webhook/terra', methods: { POST: handlers.terra } },
    { path: '/webhook/healthkit', methods: { POST: handlers.healthkit } },
    ...(handlers.test === undefined ? [] : [{ path: '/webhook/test', methods: { POST: handlers.test } }]),
    { path: '/health', methods: { GET: handlers.health } },
    { path: '/livez', methods: { GET: handlers.livez } },
    { path: '/readyz', methods: { GET: handlers.readyz } },
    ...(handlers.metrics === undefined ? [] : [{ path: '/metrics', methods: { GET: handlers.metrics } }]),
  ];
}

/** Everything the admin port serves. */
export function adminRoutes(
  handlers: Pick<Handlers, 'livez' | 'readyz'> & { health: Handler; metrics: Handler },
): Route[] {
  return [
    { path: '/health', methods: { GET: handlers.health } },
    { path: '/livez', methods: { GET: handlers.livez } },
    { path: '/readyz', methods: { GET: handlers.readyz } },
    { path: '/metrics', methods: { GET: handlers.metrics } },
  ];
}

/**
 * The Express application of the routes: it routes and nothing else, the handlers speak with Node's own request and
 * response. Unknown paths are 404, unknown methods 405.
 */
export function createApp(routes: readonly Route[], onUnexpected: (error: unknown) => void): Express {
  const app = express();
  app.disable('x-powered-by');
  app.enable('strict routing');
  app.enable('case sensitive routing');
  for (const { path, methods } of routes) {
    const allow = [...Object.keys(methods), ...('GET' in methods ? ['HEAD'] : []), 'OPTIONS'].join(', ');
    app.all(path, async (request, response) => {
      const method = request.method === 'HEAD' ? 'GET' : request.method;
      const handler = method === 'GET' || method === 'POST' ? methods[method] : undefined;
      if (handler !== undefined) await handler(request, response);
      else if (method === 'OPTIONS') response.writeHead(204, { allow }).end();
      else sendProblem(request, response, 'method_not_allowed', { allow });
    });
  }
  app.use((request, response) => sendProblem(request, response, 'not_found'));
  // Express knows an error handler by its four parameters.
  const onError: ErrorRequestHandler = (error, request, response, next) => {
    onUnexpected(error);
    if (response.headersSent) next(error);
    else sendProblem(request, response, 'internal');
  };
  app.use(onError);
  return app;
}
