/** Senders on bare sockets: node:http's own client costs several times what the ingress does. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { hex } from '../ingress/harness.ts';

/** A webhook as bytes, with a right plain signature. */
export function webhook(device: string, secret: string, body: string): Buffer {
  return Buffer.from(
    `POST /webhook/${device} HTTP/1.1\r\nhost: edge\r\ncontent-type: application/json\r\n` +
      `signature: ${hex(secret, body)}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

export interface Heard {
  readonly status: number;
  readonly retryAfterS: number | undefined;
  readonly body: string;
}

/** One connection with one request at a time, opened again when the answer said it was the last. */
export class Sender {
  readonly #port: number;
  #socket: Socket | undefined;

  constructor(port: number) {
    this.#port = port;
  }

  /** @throws Error when the connection is refused, or ends before the answer is complete. */
  async exchange(request: Buffer): Promise<Heard> {
    if (this.#socket === undefined) {
      const socket = connect(this.#port, '127.0.0.1');
      this.#socket = socket;
      socket.setNoDelay(true);
      await once(socket, 'connect');
    }
    const socket = this.#socket;
    const { head, body } = await new Promise<{ head: string; body: string }>((resolve, reject) => {
      let text = '';
      const end = (): void => {
        socket.off('data', onData).off('close', onClose).off('error', onClose);
      };
      const onClose = (): void => {
        end();
        this.#socket = undefined;
        reject(new Error('the connection ended before the answer'));
      };
      const onData = (chunk: Buffer): void => {
        text += chunk.toString('latin1');
        const headEnd = text.indexOf('\r\n\r\n');
        if (headEnd === -1) return;
        const length = Number(/\r\ncontent-length: (\d+)/i.exec(text)?.[1] ?? 0);
        if (text.length < headEnd + 4 + length) return;
        end();
        resolve({ head: text.slice(0, headEnd), body: text.slice(headEnd + 4) });
      };
      socket.on('data', onData).on('close', onClose).on('error', onClose);
      socket.write(request);
    });
    if (/\r\nconnection: close/i.test(head)) this.close();
    const retryAfter = /\r\nretry-after: (\d+)/i.exec(head)?.[1];
    return {
      status: Number(head.slice(9, 12)),
      retryAfterS: retryAfter === undefined ? undefined : Number(retryAfter),
      body,
    };
  }

  close(): void {
    this.#socket?.on('error', () => undefined);
    this.#socket?.end();
    this.#socket = undefined;
  }
}

/** What a load came to. */
export interface Outcome {
  /** Answers by status; `failed` are requests that got none. */
  readonly statuses: Record<string, number>;
  /** The numbers of the bodies that were answered 200, see numberedBody. */
  readonly acknowledged: number[];
  /** Ms from the request to its 200. */
  readonly latenciesMs: number[];
  /** Every Retry-After of a 503. */
  readonly retryAfterS: Set<number | undefined>;
  /** The codes of the problem documents, with their counts. */
  readonly codes: Record<string, number>;
}

let next = 0;

/** The body with this number, which can be derived again and need not be kept. */
export function numberedBody(number: number): string {
  const user = number % 997;
  return `{"user_id":"user-${user}","timestamp":"2026-06-10T06:41:08Z","hrv_data":{"rmssd":58},"number":${number}}`;
}

/**
 * Keeps `connections` busy until `stop`, each with a webhook at a time; after anything but 200 one pauses a little.
 * All are open before the first webhook is sent: libuv accepts one connection per turn of its loop, so that a burst of
 * thousands waits for as many turns, and that is not what is measured.
 */
export async function startLoad(options: {
  readonly port: number;
  readonly secret: string;
  readonly connections: number;
  readonly pauseMs?: number;
}): Promise<{ readonly outcome: Outcome; stop(): Promise<Outcome> }> {
  const outcome: Outcome = {
    statuses: {},
    acknowledged: [],
    latenciesMs: [],
    retryAfterS: new Set(),
    codes: {},
  };
  let ended = false;
  const count = (counts: Record<string, number>, name: string): number =>
    (counts[name] = (counts[name] ?? 0) + 1);
  const senders = Array.from({ length: options.connections }, () => new Sender(options.port));
  const hello = Buffer.from('OPTIONS /webhook/oura HTTP/1.1\r\nhost: edge\r\n\r\n');
  await Promise.all(senders.map((sender) => sender.exchange(hello)));
  const work = senders.map(async (sender) => {
    while (!ended) {
      const number = (next += 1);
      const startedAt = performance.now();
      try {
        const response = await sender.exchange(webhook('oura', options.secret, numberedBody(number)));
        count(outcome.statuses, String(response.status));
        if (response.status === 200) {
          outcome.acknowledged.push(number);
          outcome.latenciesMs.push(performance.now() - startedAt);
          continue;
        }
        outcome.retryAfterS.add(response.retryAfterS);
        count(outcome.codes, (JSON.parse(response.body) as { code: string }).code);
      } catch (error) {
        sender.close();
        count(outcome.statuses, 'failed');
        count(outcome.codes, error instanceof Error ? error.message : 'unknown');
      }
      await new Promise((resolve) => setTimeout(resolve, options.pauseMs ?? 20));
    }
    sender.close();
  });
  return {
    outcome,
    async stop() {
      ended = true;
      await Promise.all(work);
      return outcome;
    },
  };
}

/** The value below which that part of all lies; 0 of none. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0);
}
