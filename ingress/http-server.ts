import {
  createServer,
  STATUS_CODES,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Duplex } from 'node:stream';
import { problemDocument, type ProblemCode } from './errors.ts';
import { sendProblem } from './response.ts';

/** Limits of a connection. They are not settings, because none depends on the deployment. */
export interface ConnectionLimits {
  /** Request line and headers together; larger ones get 431. Vendors send 1 to 2 KiB. */
  readonly headerBytes: number;
  /** From the first byte of a request, or the opening of a connection, to the end of its headers; later ones get 408. */
  readonly headersMs: number;
  /** From there to the end of the body; later ones get 408. readBody gives up earlier on a body that pauses or is slow. */
  readonly requestMs: number;
  /** How long a connection may be idle between two requests. */
  readonly keepAliveMs: number;
  /** How often headersMs and requestMs are checked. */
  readonly checkEveryMs: number;
  /** Open at once in this process; further ones are closed on arrival. */
  readonly connections: number;
}

export const connectionLimits: ConnectionLimits = {
  headerBytes: 16 * 1024,
  headersMs: 20_000,
  requestMs: 120_000,
  // Longer than the 60 s after which common proxies close an idle connection: otherwise both may close at once, and the
  // proxy loses a request that it has just sent. headersMs may be shorter: Node 20 does not count idle time towards it.
  keepAliveMs: 70_000,
  checkEveryMs: 2_000,
  // More than the admission queue holds: the others get 503, which a vendor understands better than a refused connection.
  connections: 10_000,
};

/** Creates a server with these limits, whose own refusals are problem documents too. */
export function createHttpServer(listener: RequestListener, limits: Partial<ConnectionLimits> = {}): Server {
  const { headerBytes, headersMs, requestMs, keepAliveMs, checkEveryMs, connections } = {
    ...connectionLimits,
    ...limits,
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    if (request.headers.host === undefined && request.httpVersion === '1.1') {
      refuse(request, response, 'bad_request');
    } else {
      listener(request, response);
    }
  };
  const server = createServer(
    {
      maxHeaderSize: headerBytes,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: checkEveryMs,
      // Checked in onRequest: Node's own answer has no body.
      requireHostHeader: false,
    },
    onRequest,
  );
  server.maxConnections = connections;
  // readBody asks for the body when it is this request's turn.
  server.on('checkContinue', onRequest);
  server.on('checkExpectation', (request, response) => refuse(request, response, 'expectation'));
  server.on('clientError', onClientError);
  return server;
}

function refuse(request: IncomingMessage, response: ServerResponse, code: ProblemCode): void {
  response.setHeader('connection', 'close');
  sendProblem(request, response, code);
}

/** How long a sender may take to read the parser's refusal. */
const refusalMs = 1_000;

/** Answers a request that Node's parser refused, and closes the connection. */
function onClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  // Already answered: the parser refuses whatever still arrives.
  if (socket.writableEnded) return;
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  // Node's field for the response in progress on this socket: do not start a second one while it is being written.
  const { _httpMessage: current } = socket as { _httpMessage?: ServerResponse | null };
  if (current?.headersSent === true) {
    socket.end();
  } else {
    const { status, body } = problemDocument(parserFaults[error.code ?? ''] ?? 'bad_request');
    socket.end(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\ncontent-type: application/problem+json\r\n` +
        `content-length: ${Buffer.byteLength(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n${body}`,
    );
  }
  // Closing at once would reset the connection under a sender that is still sending.
  const timer = setTimeout(() => socket.destroy(), refusalMs);
  socket.once('close', () => clearTimeout(timer));
}

const parserFaults: Readonly<Record<string, ProblemCode>> = {
  HPE_HEADER_OVERFLOW: 'headers_too_large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'body_too_large',
  ERR_HTTP_REQUEST_TIMEOUT: 'request_too_slow',
};

/** Stops accepting, lets open requests finish and closes connections as they become idle; all others after `deadlineMs`. */
export function closeServer(server: Server, deadlineMs: number): Promise<void> {
  return new Promise((resolve) => {
    const idle = setInterval(() => server.closeIdleConnections(), 20);
    const late = setTimeout(() => server.closeAllConnections(), deadlineMs);
    server.close(() => {
      clearInterval(idle);
      clearTimeout(late);
      resolve();
    });
  });
}
