/** A Fetch request by hand, for the bytes of a partition as the broker sends them. */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { RecordSet } from '../../kafka/record-batch.ts';

const fetchKey = 1;
// The last version without compact fields; zstd is served from 10 on.
const version = 11;

/** Reads one answer from a broker that leads the partition. */
export async function rawFetch(
  server: string,
  options: { topic: string; partition: number; offset: bigint; isCommitted: boolean; maxBytes?: number },
): Promise<RecordSet> {
  const { topic, partition, offset, isCommitted, maxBytes = 10_000_000 } = options;
  const request = new Writer()
    .int16(fetchKey)
    .int16(version)
    .int32(1)
    .string('raw-fetch')
    .int32(-1) // replica
    .int32(100) // wait, in milliseconds
    .int32(1) // least bytes
    .int32(maxBytes)
    .int8(isCommitted ? 1 : 0)
    .int32(0) // session
    .int32(-1) // session epoch
    .int32(1) // topics
    .string(topic)
    .int32(1) // partitions
    .int32(partition)
    .int32(-1) // leader epoch
    .int64(offset)
    .int64(-1n) // log start
    .int32(maxBytes)
    .int32(0) // forgotten topics
    .string('').bytes; // rack
  const answer = await exchange(server, request);
  // Correlation id, throttling, error, session, count of topics, the topic, count of partitions, partition.
  let at = 4 + 4 + 2 + 4 + 4;
  at += 2 + answer.readInt16BE(at) + 4 + 4;
  const error = answer.readInt16BE(at);
  if (error !== 0) throw new Error(`the fetch was refused with error ${error}`);
  // Error, high watermark, last stable offset, log start.
  at += 2 + 8 + 8 + 8;
  const aborted = Math.max(answer.readInt32BE(at), 0);
  at += 4;
  const abortedTransactions = Array.from({ length: aborted }, (_, i) => ({
    producerId: answer.readBigInt64BE(at + 16 * i),
    firstOffset: answer.readBigInt64BE(at + 16 * i + 8),
  }));
  // Behind them the preferred replica.
  at += 16 * aborted + 4;
  const length = Math.max(answer.readInt32BE(at), 0);
  const bytes = answer.subarray(at + 4, at + 4 + length);
  return { topic, partition, fetchOffset: offset, bytes, abortedTransactions };
}

async function exchange(server: string, request: Buffer): Promise<Buffer> {
  const [host, port] = server.split(':');
  const socket = connect({ host: host!, port: Number(port), timeout: 10_000 });
  socket.once('timeout', () => socket.destroy(new Error('the broker does not answer')));
  try {
    await once(socket, 'connect');
    socket.write(new Writer().int32(request.length).bytes);
    socket.write(request);
    let answer = Buffer.alloc(0);
    for await (const chunk of socket) {
      answer = Buffer.concat([answer, chunk as Buffer]);
      if (answer.length >= 4 && answer.length >= 4 + answer.readInt32BE(0)) return answer.subarray(4);
    }
    throw new Error('the broker closed the connection');
  } finally {
    socket.destroy();
  }
}

class Writer {
  #parts: Buffer[] = [];

  get bytes(): Buffer {
    return Buffer.concat(this.#parts);
  }

  int8(value: number): this {
    return this.#add(1, (part) => part.writeInt8(value));
  }

  int16(value: number): this {
    return this.#add(2, (part) => part.writeInt16BE(value));
  }

  int32(value: number): this {
    return this.#add(4, (part) => part.writeInt32BE(value));
  }

  int64(value: bigint): this {
    return this.#add(8, (part) => part.writeBigInt64BE(value));
  }

  string(value: string): this {
    this.int16(Buffer.byteLength(value));
    this.#parts.push(Buffer.from(value));
    return this;
  }

  #add(size: number, write: (part: Buffer) => void): this {
    const part = Buffer.alloc(size);
    write(part);
    this.#parts.push(part);
    return this;
  }
}
