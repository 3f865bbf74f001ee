/** The connections of one client of the cluster, so that all of them can be ended at once. */
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

/** kafkajs' own. */
const keepAliveDelayMs = 60_000;

/** What kafkajs asks for. */
interface Asked {
  readonly host: string;
  readonly port: number;
  /** Undefined without TLS, whatever the types of kafkajs say; with `ssl: true` it is true. */
  readonly ssl: ConnectionOptions | undefined;
  readonly onConnect: () => void;
}

/**
 * Opens the connections of kafkajs until end(). kafkajs alone does not end what is under way: its disconnect() waits for
 * answers that may never come, and a call that is repeated connects again, so that the process would not exit.
 */
export class Sockets {
  readonly #open = new Set<Socket>();
  #hasEnded = false;

  /** The `socketFactory` of kafkajs. */
  readonly create = ({ host, port, ssl, onConnect }: Asked): Socket => {
    if (this.#hasEnded) throw new Error('the client was closed');
    const serverName = isIP(host) === 0 ? { servername: host } : {};
    const socket = ssl
      ? connectTls({ host, port, ...serverName, ...ssl }, onConnect)
      : connectTcp({ host, port }, onConnect);
    socket.setKeepAlive(true, keepAliveDelayMs);
    this.#open.add(socket);
    socket.once('close', () => {
      this.#open.delete(socket);
      // kafkajs disconnects it once more with each attempt to reconnect, and unref() of a closed socket adds a listener.
      socket.unref = () => socket;
    });
    return socket;
  };

  /** Ends every connection and opens none any more: calls that are under way reject. */
  end(): void {
    this.#hasEnded = true;
    for (const socket of this.#open) {
      // Nothing waits for one that kafkajs has ended; it would log the error.
      if (socket.writableEnded) socket.destroy();
      else socket.destroy(new Error('the client was closed'));
    }
  }
}
