import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { pingRedis } from '../ingress/redis-ping.ts';
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
    // While it reads its data it answers LOADING, an error.
    healthy: () => pingRedis(redisUrl(ports), 2_000).then(() => true),
  });
}

export function redisUrl(ports: Ports): string {
  return `redis://127.0.0.1:${ports.redis}`;
}
