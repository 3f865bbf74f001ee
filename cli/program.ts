import type { OutputConfiguration } from 'commander';
import { Command } from './command.ts';

interface Listed {
  readonly summary: string;
  /** Loads the command on demand, so that `bridge --help` loads neither Kafka nor Express nor Postgres. */
  readonly load: () => Promise<{ define(command: Command): void }>;
}

/** The commands of `bridge`, in the order of its help. */
export const commands: Readonly<Record<string, Listed>> = {
  start: {
    summary: 'Run everything on this machine with signed sample traffic.',
    load: () => import('./start.ts'),
  },
  ingress: {
    summary: 'Take webhooks, verify them and append them to the raw topics.',
    load: () => import('./ingress.ts'),
  },
  topology: {
    summary: 'Run the topology: raw topics in, prioritized events out, exactly once.',
    load: () => import('./topology.ts'),
  },
  sink: {
    summary: 'Write the events of the priority topics to Postgres.',
    load: () => import('./sink.ts'),
  },
  topics: { summary: 'Create the topics, or check those that exist.', load: () => import('./topics.ts') },
  schemas: {
    summary: 'Register the contract in the schema registry, or check it.',
    load: () => import('./schemas.ts'),
  },
  'dead-letters': {
    summary: 'List, show and retry the records that could not be processed.',
    load: () => import('./dead-letters.ts'),
  },
  trace: {
    summary: 'Tell what came of one raw record, and whether its signature still verifies.',
    load: () => import('./trace.ts'),
  },
  audit: {
    summary: 'Prove from the topics that each raw record ended in one accounted way.',
    load: () => import('./audit.ts'),
  },
  explain: {
    summary: 'Show what the topology makes of a payload, and why.',
    load: () => import('./explain.ts'),
  },
  replay: {
    summary: 'Compute history again from the raw topics, and see what would change.',
    load: () => import('./replay.ts'),
  },
  token: { summary: 'Make the bearer token of a HealthKit user.', load: () => import('./token.ts') },
  describe: { summary: 'Show the topology as text, Mermaid or JSON.', load: () => import('./describe.ts') },
  config: {
    summary: 'Print the configuration that a process would use.',
    load: () => import('./config.ts'),
  },
  local: {
    summary: 'Run Kafka, a schema registry and Postgres for development.',
    load: () => import('./local.ts'),
  },
};

/**
 * Runs the command that `argv` names; `process.exitCode` is the command's.
 * @throws CommanderError, its text already written: with exitCode 0 after help, another one after a usage fault.
 */
export async function run(argv: readonly string[], output: OutputConfiguration = {}): Promise<void> {
  const program = new Command('bridge')
    .usage('<command> [options]')
    .description('Wearable webhooks in, prioritized Avro events out, exactly once.')
    .helpOption('-h, --help', 'print this help')
    .helpCommand(false)
    .exitOverride()
    .configureOutput(output)
    .addHelpText('after', '\n`bridge <command> --help` explains a command.');
  for (const [name, { summary }] of Object.entries(commands)) program.command(name).summary(summary);
  program.hook('preSubcommand', async (_, command) => {
    if (command instanceof Command) (await commands[command.name()]?.load())?.define(command);
  });
  await program.parseAsync(normalized(argv), { from: 'user' });
}

/** `bridge` and `bridge help` mean `bridge --help`; `bridge help topics` means `bridge topics --help`. */
function normalized([first = 'help', ...rest]: readonly string[]): string[] {
  if (first === 'help') return normalized([...rest, '--help']);
  // An unknown command is a fault, even with --help.
  return first.startsWith('-') || Object.hasOwn(commands, first) ? [first, ...rest] : [first];
}
