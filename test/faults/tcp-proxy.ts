/** A TCP proxy before a broker that breaks connections at chosen moments. */
import { once } from 'node:events';
import { createServer, connect, type AddressInfo, type Server, type Socket } from 'node:net';

/** Kafka's numbers of the requests whose answers matter most to a transaction. */
export const apiKeys = {
  produce: 0,
  initProducerId: 22,
  addPartitionsToTxn: 24,
  addOffsetsToTxn: 25,
  endTxn: 26,
  txnOffsetCommit: 28,
} as const;

const fetchKey = 1;

export type Fault =
  /** The next request of this kind (of any, without one) reaches the broker by half, and the connection ends. */
  | { readonly type: 'cut'; readonly apiKey?: number }
  /** The next request of this kind is answered by the broker, but the answer never arrives, and the connection ends. */
  | { readonly type: 'swallow'; readonly apiKey: number };

interface Armed {
  readonly fault: Fault;
  readonly then: Fault | undefined;
  readonly done: () => void;
}

/**
 * Sits between clients and one broker on loopback. Clients go where the broker's answers send them, so the broker's
 * port in its answers is replaced by the proxy's: host and port are adjacent there, in every version.
 */
export class KafkaProxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: number;
  #armed: Armed | undefined;
  #damage: { readonly text: string; times: number } | undefined;
  #fetchError: { readonly topic: string; readonly partition: number; readonly code: number } | undefined;
  readonly #requests = new Map<number, number>();
  readonly #errors = new Map<number, number>();

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((client) => this.#accept(client));
  }

  /** @param broker - `host:port` of a broker of this machine. */
  static async start(broker: string): Promise<KafkaProxy> {
    const proxy = new KafkaProxy(Number(broker.split(':')[1]));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  /** Where clients connect. */
  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /**
   * Prepares a fault; resolves once it has happened.
   * @param then - one that is prepared at that moment, for what the first leads to, should it come to that.
   */
  async breaks(fault: Fault, then?: Fault): Promise<void> {
    await new Promise<void>((done) => {
      this.#armed = { fault, then, done };
    });
  }

  /** Changes a bit of `text` in the next `times` answers that hold it; answers how many times are left. */
  damages(text: string, times: number): () => number {
    const damage = { text, times };
    this.#damage = damage;
    return () => damage.times;
  }

  /** Answers every fetch of a partition with this error, until the returned function is called. */
  failsFetches(topic: string, partition: number, code: number): () => void {
    this.#fetchError = { topic, partition, code };
    return () => {
      this.#fetchError = undefined;
    };
  }

  /** Answers every request of a kind with this error, if its answer begins with the throttle time and the error. */
  fails(apiKey: number, code: number): () => void {
    this.#errors.set(apiKey, code);
    return () => {
      this.#errors.delete(apiKey);
    };
  }

  /** How many requests of a kind have come so far. */
  requests(apiKey: number): number {
    return this.#requests.get(apiKey) ?? 0;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #accept(client: Socket): void {
    const broker = connect(this.#target, '127.0.0.1');
    /** Requests under way, by correlation id. */
    const asked = new Map<number, number>();
    const end = (): void => {
      client.destroy();
      broker.destroy();
    };
    for (const socket of [client, broker]) {
      this.#sockets.add(socket);
      socket.on('error', end);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    client.on(
      'data',
      frames((request) => {
        const apiKey = request.readInt16BE(4);
        const fault = this.#armed?.fault;
        if (fault?.type === 'cut' && (fault.apiKey === undefined || fault.apiKey === apiKey)) {
          broker.write(request.subarray(0, request.length >> 1), end);
          this.#happened();
          return;
        }
        asked.set(request.readInt32BE(8), apiKey);
        this.#requests.set(apiKey, this.requests(apiKey) + 1);
        broker.write(request);
      }),
    );
    broker.on(
      'data',
      frames((answer) => {
        const correlation = answer.readInt32BE(4);
        const apiKey = asked.get(correlation);
        asked.delete(correlation);
        const fault = this.#armed?.fault;
        if (fault?.type === 'swallow' && fault.apiKey === apiKey) {
          end();
          this.#happened();
          return;
        }
        this.#replacePort(answer);
        this.#damageText(answer);
        if (apiKey === fetchKey) this.#failFetch(answer);
        const code = this.#errors.get(apiKey ?? -1);
        // Behind the size, the correlation id and the throttle time.
        if (code !== undefined) answer.writeInt16BE(code, 12);
        client.write(answer);
      }),
    );
  }

  #happened(): void {
    const { then, done } = this.#armed ?? {};
    this.#armed = then === undefined ? undefined : { fault: then, then: undefined, done: () => undefined };
    done?.();
  }

  #damageText(answer: Buffer): void {
    const damage = this.#damage;
    if (damage === undefined || damage.times === 0) return;
    const at = answer.indexOf(damage.text);
    if (at === -1) return;
    answer.writeUInt8(answer.readUInt8(at) ^ 1, at);
    damage.times -= 1;
  }

  /** In the answer to a Fetch of version 11: https://kafka.apache.org/protocol#The_Messages_Fetch */
  #failFetch(answer: Buffer): void {
    if (this.#fetchError === undefined) return;
    const { topic, partition, code } = this.#fetchError;
    const name = Buffer.concat([Buffer.from([topic.length >> 8, topic.length & 255]), Buffer.from(topic)]);
    let at = answer.indexOf(name);
    if (at === -1) return;
    at += name.length + 4;
    for (let left = answer.readInt32BE(at - 4); left > 0; left -= 1) {
      if (answer.readInt32BE(at) === partition) answer.writeInt16BE(code, at + 4);
      // Partition, error, three offsets, aborted transactions, preferred replica, records.
      const aborted = answer.readInt32BE(at + 30);
      at += 34 + Math.max(aborted, 0) * 16 + 4;
      at += 4 + Math.max(answer.readInt32BE(at), 0);
    }
  }

  #replacePort(answer: Buffer): void {
    const found = Buffer.alloc(13);
    found.write('127.0.0.1', 'latin1');
    found.writeInt32BE(this.#target, 9);
    const { port } = this.#server.address() as AddressInfo;
    for (let at = answer.indexOf(found); at !== -1; at = answer.indexOf(found, at + 1))
      answer.writeInt32BE(port, at + 9);
  }
}

/** Hands on whole messages of Kafka's protocol, which begin with their size. */
function frames(onFrame: (frame: Buffer) => void): (chunk: Buffer) => void {
  let waiting: Buffer = Buffer.alloc(0);
  return (chunk) => {
    waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk]);
    while (waiting.length >= 4) {
      const size = 4 + waiting.readInt32BE(0);
      if (waiting.length < size) return;
      onFrame(waiting.subarray(0, size));
      waiting = waiting.subarray(size);
    }
  };
}
