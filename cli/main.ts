import { UsageError, type Command } from './command.ts';
import { ConfigError } from '../process/config.ts';

// Loaded when asked for, so that `bridge --help` does not load Kafka, Express and Postgres.
const commands: Readonly<Record<string, () => Promise<Command>>> = {
  start: async () => (await import('./start.ts')).start,
  ingress: async () => (await import('./ingress.ts')).ingress,
  topology: async () => (await import('./topology.ts')).topology,
  sink: async () => (await import('./sink.ts')).sink,
  topics: async () => (await import('./topics.ts')).topics,
  schemas: async () => (await import('./schemas.ts')).schemas,
  explain: async () => (await import('./explain.ts')).explainCommand,
  token: async () => (await import('./token.ts')).token,
  describe: async () => (await import('./describe.ts')).describe,
  config: async () => (await import('./config.ts')).config,
  local: async () => (await import('./local.ts')).local,
};

async function main(args: string[]): Promise<number> {
  const [name = '--help', ...rest] = args;
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(await help());
    return 0;
  }
  const load = commands[name];
  if (load === undefined) {
    process.stderr.write(`bridge: there is no command ${JSON.stringify(name)}; bridge --help lists them\n`);
    return 2;
  }
  const command = await load();
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(`${command.usage.trim()}\n`);
    return 0;
  }
  try {
    return await command.run(rest);
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`bridge ${name}: ${error.message}\n\n${command.usage.trim()}\n`);
      return 2;
    }
    if (error instanceof ConfigError) {
      process.stderr.write(`bridge ${name}: ${error.message}\n`);
      return 2;
    }
    throw error;
  }
}

async function help(): Promise<string> {
  const lines = ['Usage: bridge <command> [options]', '', 'Commands:'];
  for (const [name, load] of Object.entries(commands)) {
    lines.push(`  ${name.padEnd(12)} ${(await load()).summary}`);
  }
  return [...lines, '', 'bridge <command> --help tells the options of one.', ''].join('\n');
}

// `bridge topics | head` closes our output early, which is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    const failed = error instanceof Error ? `${error.name}: ${error.message}` : 'an unknown failure';
    process.stderr.write(`bridge: ${failed}\n`);
    process.exitCode = 1;
  },
);
