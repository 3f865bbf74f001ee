import { connect } from 'node:net';

/**
 * Asks a broker for the cluster's metadata (Metadata v1, no topics) over a socket of its own: proof that it serves
 * requests, and how many brokers it knows to be alive. The health check needs no client library for 40 bytes.
 * @returns the node ids of the live brokers, as this broker sees them.
 * @throws Error when there is no whole answer within `timeoutMs`.
 */
export function liveBrokers(port: number, timeoutMs = 2_000): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' });
    const fail = (what: string): void => {
      socket.destroy();
      reject(new Error(`broker on port ${port}: ${what}`));
    };
    const deadline = setTimeout(() => fail(`no metadata within ${timeoutMs} ms`), timeoutMs);
    let answer = Buffer.alloc(0);
    socket.once('connect', () => socket.write(metadataRequest()));
    socket.once('error', (error) => fail(error.message));
    socket.once('close', () => {
      clearTimeout(deadline);
      reject(new Error(`broker on port ${port}: closed the connection`));
    });
    socket.on('data', (chunk) => {
      answer = Buffer.concat([answer, chunk]);
      if (answer.length < 4 || answer.length < 4 + answer.readInt32BE(0)) return;
      try {
        resolve(nodeIds(answer));
      } catch {
        reject(new Error(`broker on port ${port}: its metadata cannot be read`));
      }
      socket.destroy();
    });
  });
}

function metadataRequest(): Buffer {
  const client = 'local-stack';
  const request = Buffer.alloc(4 + 8 + 2 + client.length + 4);
  request.writeInt32BE(request.length - 4, 0);
  request.writeInt16BE(3, 4); // api key: Metadata
  request.writeInt16BE(1, 6); // version
  request.writeInt32BE(1, 8); // correlation id
  request.writeInt16BE(client.length, 12);
  request.write(client, 14, 'latin1');
  request.writeInt32BE(0, 14 + client.length); // topics: none
  return request;
}

/** Brokers of a Metadata v1 response: after size and correlation id, an array of node id, host, port, rack. */
function nodeIds(response: Buffer): number[] {
  let at = 8;
  const int32 = (): number => {
    at += 4;
    return response.readInt32BE(at - 4);
  };
  const skipText = (): void => {
    const length = response.readInt16BE(at);
    at += 2 + Math.max(length, 0);
  };
  return Array.from({ length: int32() }, () => {
    const id = int32();
    skipText();
    int32();
    skipText();
    return id;
  });
}
