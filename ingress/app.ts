import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import express from 'express';
import { originForm } from '../process/request-target.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import { sendProblem } from './response.ts';
import type { Handler } from './webhook.ts';

/** A path and the handlers of its methods. HEAD runs the GET handler; OPTIONS lists the methods. */
export interface Route {
  readonly path: string;
  readonly methods: Readonly<Partial<Record<'GET' | 'POST', Handler>>>;
}

/** The handlers of an ingress: one per vendor, and the others. */
export interface Handlers extends Readonly<Record<VendorName, Handler>> {
  readonly ouraChallenge: Handler;
  /** Absent when TEST_WEBHOOK is off. */
  readonly test: Handler | undefined;
  readonly livez: Handler;
  readonly readyz: Handler;
  /** All details, or only the status when ADMIN_PORT serves the details. */
  readonly health: Handler;
  /** Absent when ADMIN_PORT serves them. */
  readonly metrics: Handler | undefined;
}

/** Everything the public port serves. */
export function publicRoutes(handlers: Handlers): Route[] {
  return [
    ...vendorNames.map((vendor) => ({
      path: `/webhook/${vendor}`,
      methods: { ...(vendor === 'oura' ? { GET: handlers.ouraChallenge } : {}), POST: handlers[vendor] },
    })),
    ...(handlers.test === undefined ? [] : [{ path: '/webhook/test', methods: { POST: handlers.test } }]),
    { path: '/health', methods: { GET: handlers.health } },
    { path: '/livez', methods: { GET: handlers.livez } },
    { path: '/readyz', methods: { GET: handlers.readyz } },
    ...(handlers.metrics === undefined ? [] : [{ path: '/metrics', methods: { GET: handlers.metrics } }]),
  ];
}

/** Everything the admin port serves. */
export function adminRoutes(handlers: {
  readonly [name in 'livez' | 'readyz' | 'health' | 'metrics']: Handler;
}): Route[] {
  return [
    { path: '/health', methods: { GET: handlers.health } },
    { path: '/livez', methods: { GET: handlers.livez } },
    { path: '/readyz', methods: { GET: handlers.readyz } },
    { path: '/metrics', methods: { GET: handlers.metrics } },
  ];
}

/**
 * Creates the request listener. It looks webhooks up in a Map: Express' routing would cost more than all other work on
 * one. Express serves everything else, unknown paths under `/webhook/` included.
 */
export function createListener(
  routes: readonly Route[],
  onUnexpected: (error: unknown) => void,
): RequestListener {
  const isHot = ({ path }: Route): boolean => path.startsWith('/webhook/');
  const hot = new Map(routes.filter(isHot).map((route) => [route.path, route]));
  const app = createApp(routes.filter((route) => !isHot(route)));
  return (request, response) => {
    const failed = (error: unknown): void => {
      onUnexpected(error);
      sendProblem(request, response, 'internal');
    };
    const target = originForm(request.url ?? '');
    if (target === undefined) {
      sendProblem(request, response, 'not_found');
      return;
    }
    request.url = target;
    const query = target.indexOf('?');
    const route = hot.get(query === -1 ? target : target.slice(0, query));
    if (route !== undefined) {
      answer(route, request, response).catch(failed);
      return;
    }
    app(request, response, (error: unknown) => {
      if (error === undefined || error === null) sendProblem(request, response, 'not_found');
      else failed(error);
    });
  };
}

/** An Express application; `done` runs when no route matches or one fails. */
type App = (request: IncomingMessage, response: ServerResponse, done: (error?: unknown) => void) => void;

/** Creates the Express application of the routes, which only routes. */
function createApp(routes: readonly Route[]): App {
  const app = express();
  app.disable('x-powered-by');
  app.enable('strict routing');
  app.enable('case sensitive routing');
  for (const route of routes) app.all(route.path, (request, response) => answer(route, request, response));
  return app;
}

/** Runs the handler of the method on Node's own request and response. Unknown methods get 405. */
async function answer(route: Route, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { methods } = route;
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  const handler = method === 'GET' || method === 'POST' ? methods[method] : undefined;
  if (handler !== undefined) {
    await handler(request, response);
    return;
  }
  const allow = [...Object.keys(methods), ...('GET' in methods ? ['HEAD'] : []), 'OPTIONS'].join(', ');
  if (method === 'OPTIONS') response.writeHead(204, { allow }).end();
  else sendProblem(request, response, 'method_not_allowed', { allow });
}
