import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * Starts listening and resolves with the address.
 * @throws Error naming the address and the variable that sets the port.
 */
export function listening(
  server: Server,
  variable: string,
  port: number,
  host: string,
): Promise<{ host: string; port: number }> {
  return new Promise((resolve, reject) => {
    // Not `once`: a later failure to accept a connection, without a listener, would end the process.
    server.on('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'it is taken' : (error.code ?? 'unknown');
      reject(
        new Error(
          `cannot listen on ${host}:${port} (${reason}): set ${variable} to another, or 0 for any free port`,
        ),
      );
    });
    // Holds bursts of connections while the process is busy; the system may allow fewer.
    const backlog = 4_096;
    server.listen({ port, host, backlog }, () =>
      resolve({ host, port: (server.address() as AddressInfo).port }),
    );
  });
}
