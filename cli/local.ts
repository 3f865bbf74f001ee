import { Option } from 'commander';
import { readLocalEnv, stackDirectory } from '../local/env.ts';
import { resetStack, StackError, startStack, stopStack, type StackOptions } from '../local/stack.ts';
import { localVariables } from '../local/variables.ts';
import type { Command } from './command.ts';

/** `bridge local`. */
export function define(command: Command): void {
  command
    .description(
      `Run Kafka, a schema registry, Postgres and, where redis-server is installed, Redis on this machine as processes. Java 17 or newer and Maven are needed. If KAFKA_BOOTSTRAP_SERVERS is set, nothing is started: the bridge uses the servers named by it, SCHEMA_REGISTRY_URL and POSTGRES_URL. docker-compose.kafka.yml describes the same stack as containers.`,
    )
    .environment(
      localVariables,
      '`set -a; . .local/env; set +a` points any tool at the stack; bridge commands read that file themselves.',
    );
  command
    .command('up')
    .description(
      'Start everything, return once all of it is healthy, and leave it running. Writes .local/env. Safe to repeat.',
    )
    .addOption(
      new Option(
        '--brokers <count>',
        'brokers of a new stack; 3 replicate everything (min.insync.replicas 2), for fault tests',
      ).choices(['1', '3']),
    )
    .does(({ brokers }: { brokers?: '1' | '3' }) =>
      up(brokers === undefined ? {} : { brokers: brokers === '3' ? 3 : 1 }),
    );
  command.command('down').description('Stop everything in order, and keep the data.').does(down);
  command
    .command('reset')
    .description('Stop everything, and delete all data (topics, schema ids, rows) and .local/env.')
    .does(reset);
}

async function up(options: Pick<StackOptions, 'brokers'>): Promise<number> {
  const abort = new AbortController();
  const end = (): void => {
    print('stopping what was started');
    abort.abort();
  };
  process.once('SIGINT', end);
  process.once('SIGTERM', end);
  try {
    const began = performance.now();
    const stack = await startStack({
      ...common('bridge local up'),
      ...options,
      detached: true,
      signal: abort.signal,
    });
    if (stack.kind === 'existing') return 0;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    print(!stack.started ? 'it was up already; nothing was changed' : `everything up in ${seconds} s`);
    for (const name of ['KAFKA_BOOTSTRAP_SERVERS', 'SCHEMA_REGISTRY_URL'])
      print(`  ${name}=${stack.env[name] ?? ''}`);
    print(`  all addresses and secrets: ${stackDirectory()}/env; bridge local down stops it`);
    return 0;
  } catch (error) {
    if (!(error instanceof StackError) || error.code !== 'ABORTED') throw error;
    print('interrupted; everything that was started is stopped');
    return 130;
  } finally {
    process.off('SIGINT', end);
    process.off('SIGTERM', end);
  }
}

async function down(): Promise<number> {
  const wasRunning = await stopStack(common('bridge local down'));
  print(wasRunning ? 'stopped; the data is kept' : 'nothing was running');
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
