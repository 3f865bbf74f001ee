import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** Redis does not answer as expected; the message holds no part of the URL's login. */
export class RedisPingError extends Error {
  override readonly name = 'RedisPingError';
}

/**
 * Sends PING (after AUTH when the URL has a login) and expects PONG. The ingress sends Redis nothing else, so a client
 * library is not worth its weight.
 * @param url - `redis://` or `rediss://` (TLS), `[user[:password]@]host[:port]`.
 * @throws RedisPingError
 */
export function pingRedis(url: string, timeoutMs: number): Promise<void> {
  const { protocol, hostname, port, username, password } = new URL(url);
  const host = hostname.replace(/^\[|\]$/g, '');
  const commands = [['PING']];
  if (password !== '') {
    const login = [...(username === '' ? [] : [username]), password].map(decodeURIComponent);
    commands.unshift(['AUTH', ...login]);
  }
  return new Promise((resolve, reject) => {
    const target = { host, port: Number(port === '' ? '6379' : port) };
    const socket: Socket =
      protocol === 'rediss:' ? connectTls({ ...target, servername: host }) : connectTcp(target);
    let answer = '';
    const end = (fault?: string): void => {
      socket.destroy();
      if (fault === undefined) resolve();
      else reject(new RedisPingError(fault));
    };
    socket.setTimeout(timeoutMs, () => end('Redis does not answer in time'));
    socket.on('error', (error: NodeJS.ErrnoException) =>
      end(`Redis is not reachable (${error.code ?? 'unknown'})`),
    );
    socket.on('close', () => end('Redis closed the connection'));
    socket.on('data', (chunk: Buffer) => {
      answer += chunk.toString('latin1');
      const lines = answer.split('\r\n').slice(0, -1);
      if (lines.some((line) => line.startsWith('-'))) end('Redis refuses PING or the login');
      else if (lines.length >= commands.length)
        end(lines.at(-1) === '+PONG' ? undefined : 'Redis does not answer PONG');
    });
    socket.write(commands.map(encode).join(''));
  });
}

// RESP, the Redis protocol: an array of bulk strings.
function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}
