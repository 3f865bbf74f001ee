import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A server with the time limits of this project. */
export function createHttpServer(listener: RequestListener): Server {
  const server = createServer(listener);
  // Asks for the body only when it is this request's turn, see readBody.
  server.on('checkContinue', listener);
  server.headersTimeout = 20_000;
  server.requestTimeout = 120_000;
  // Longer than the 60 s after which common proxies close an idle connection: else both may close at once.
  server.keepAliveTimeout = 65_000;
  return server;
}

/**
 * Listens, and answers where.
 * @throws Error naming the address and the variable that sets the port.
 */
export function listening(
  server: Server,
  variable: string,
  port: number,
  host: string,
): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'it is taken' : (error.code ?? 'unknown');
      reject(
        new Error(
          `cannot listen on ${host}:${port} (${reason}): set ${variable} to another, or 0 for any free port`,
        ),
      );
    });
    server.listen(port, host, () => resolve({ host, port: (server.address() as AddressInfo).port }));
  });
}

/** Stops accepting, lets what is in hand finish, and ends idle connections as they become idle. */
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
