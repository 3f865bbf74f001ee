import { parseArgs } from 'node:util';
import { readLocalEnv, stackDirectory } from '../local/env.ts';
import { resetStack, StackError, startStack, stopStack, type StackOptions } from '../local/stack.ts';
import { UsageError, type Command } from './command.ts';

export const local: Command = {
  summary: 'Kafka, schema registry and Postgres for development: up, down, reset',
  usage: `
Usage: bridge local up [--brokers 1|3]
       bridge local down
       bridge local reset

  up      starts Kafka, the schema registry, Postgres and, where redis-server is installed, Redis; returns once all
          are healthy and leaves them running. Changes nothing when they are up. Writes .local/env, so that
              set -a; . .local/env; set +a
          points any tool at them; bridge commands read the file themselves.
  down    stops them in order and keeps their data.
  reset   stops them and removes all their data together (topics, schema ids, rows), and .local/env.

  --brokers 3   three brokers (replication 3, min.insync.replicas 2) in place of one, for fault tests

With KAFKA_BOOTSTRAP_SERVERS set, nothing is started: what it, SCHEMA_REGISTRY_URL and POSTGRES_URL name is used.
Otherwise Java 17 or newer and Maven are needed: all runs as processes of this machine. For containers instead, see
docker-compose.kafka.yml.

Environment:
  LOCAL_DIRECTORY      where data, logs and env go (.local)
  LOCAL_KAFKA_PORT     19092; its controller takes the next port, two more brokers the four after that
  LOCAL_REGISTRY_PORT  18081
  LOCAL_POSTGRES_PORT  15432
  LOCAL_REDIS_PORT     16379
`,
  async run(args) {
    const { values, positionals } = parse(args);
    const [action, ...more] = positionals;
    if (more.length > 0) throw new UsageError(`one of up, down and reset at a time`);
    if (values.brokers !== undefined && action !== 'up') throw new UsageError('--brokers goes with up');
    try {
      switch (action) {
        case 'up':
          return await up(brokerCount(values.brokers));
        case 'down':
          return await down();
        case 'reset':
          return await reset();
        case undefined:
        default:
          throw new UsageError(
            action === undefined ? 'up, down or reset?' : 'there is only up, down and reset',
          );
      }
    } catch (error) {
      if (!(error instanceof StackError)) throw error;
      if (error.code === 'ABORTED') {
        print('ended; what was started is stopped again');
        return 130;
      }
      process.stderr.write(`bridge local ${action ?? ''}: ${error.message}\n`);
      return 1;
    }
  },
};

async function up(brokers: 1 | 3 | undefined): Promise<number> {
  const ended = new AbortController();
  const end = (): void => {
    print('stopping what was started');
    ended.abort();
  };
  process.once('SIGINT', end);
  process.once('SIGTERM', end);
  try {
    const began = performance.now();
    const stack = await startStack({
      ...common('bridge local up'),
      detached: true,
      signal: ended.signal,
      ...(brokers === undefined ? {} : { brokers }),
    });
    if (stack.kind === 'existing') return 0;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    print(!stack.started ? 'it was up already; nothing was changed' : `everything up in ${seconds} s`);
    for (const name of ['KAFKA_BOOTSTRAP_SERVERS', 'SCHEMA_REGISTRY_URL'])
      print(`  ${name}=${stack.env[name] ?? ''}`);
    print(`  all addresses and secrets: ${stackDirectory()}/env; bridge local down stops it`);
    return 0;
  } finally {
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
  }
}

async function down(): Promise<number> {
  const was = await stopStack(common('bridge local down'));
  print(was ? 'stopped; the data is kept' : 'nothing was running');
  return 0;
}

async function reset(): Promise<number> {
  const had = Object.keys(readLocalEnv()).length > 0;
  await resetStack(common('bridge local reset'));
  print(
    had ? `stopped, and all data in ${stackDirectory()} removed` : `nothing is left in ${stackDirectory()}`,
  );
  return 0;
}

function common(owner: string): StackOptions {
  return { owner, onProgress: print };
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function parse(args: string[]): { values: { brokers?: string | undefined }; positionals: string[] } {
  try {
    return parseArgs({ args, options: { brokers: { type: 'string' } }, allowPositionals: true });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'unknown option');
  }
}

function brokerCount(text: string | undefined): 1 | 3 | undefined {
  if (text === undefined) return undefined;
  if (text === '1') return 1;
  if (text === '3') return 3;
  throw new UsageError('--brokers is 1 or 3');
}
