import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { processPart, type Part } from './part.ts';
import { assertFree, type Ports } from './ports.ts';

/** Redis, from the `redis-server` of this machine's PATH. */
export function redis(options: {
  readonly directory: string;
  readonly ports: Ports;
  readonly program: string;
  readonly onProgress: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}): Part {
  const { ports } = options;
  const home = join(options.directory, 'redis');
  return processPart({
    name: 'redis',
    directory: options.directory,
    startDeadlineMs: 20_000,
    stopDeadlineMs: 10_000,
    onProgress: options.onProgress,
    signal: options.signal,
    require: () => assertFree([ports.redis], 'Redis', 'LOCAL_REDIS_PORT'),
    prepare() {
      mkdirSync(home, { recursive: true });
    },
    program: () => ({
      command: options.program,
      args: [
        ...['--bind', '127.0.0.1', '--port', String(ports.redis), '--dir', home],
        // A write reaches the operating system before its answer, so that a kill loses nothing. Snapshots lose a minute,
        // and appendfsync everysec, the default, holds writes back while an fsync runs.
        ...['--appendonly', 'yes', '--appendfsync', 'no'],
      ],
      cwd: home,
    }),
    healthy: () => pong(ports.redis),
  });
}

export function redisUrl(ports: Ports): string {
  return `redis://127.0.0.1:${ports.redis}`;
}

/** Whether Redis answers PING; LOADING, while it reads its data, counts as no. */
function pong(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', timeout: 2_000 });
    const settle = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (data) => settle(data.toString('latin1').startsWith('+PONG')));
    socket.once('error', () => settle(false));
    socket.once('timeout', () => settle(false));
  });
}
