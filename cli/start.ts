import { InvalidArgumentError } from 'commander';
import { ingressVariables } from '../ingress/config.ts';
import { runBridge } from '../local/run.ts';
import { localVariables } from '../local/variables.ts';
import type { Command } from './command.ts';

interface Options {
  readonly exitAfter?: number;
  readonly traffic: boolean;
  readonly reader: boolean;
  readonly rate: number;
  readonly seed?: number;
}

/** `bridge start`, which is `npm start`. */
export function define(command: Command): void {
  const { HOST, PORT } = ingressVariables(process.env);
  command
    .description(
      `Start the local stack, create the topics, register the schemas, migrate the database and run ingress, topology, Postgres sink and the example of a NEUROS reader. Send signed sample webhooks and print a line for each event that reaches a priority topic and for each alert that the example announces or withdraws. Ctrl-C stops everything in order. \`npm start -- <options>\` does the same.`,
    )
    .option(
      '--exit-after <seconds>',
      'send for that long, wait until everything accepted has arrived, print a summary as one JSON line and stop; exit with 0 only if everything accepted is accounted for and every event is the expected one',
      positive,
    )
    .option('--no-traffic', 'send nothing')
    .option('--no-reader', 'do not run the example of a NEUROS reader, examples/neuros.ts')
    .option('--rate <number>', 'sample webhooks per second', positive, 20)
    .option(
      '--seed <number>',
      'repeat the sample traffic of an earlier run; each run prints its seed',
      positive,
    )
    .environment(
      {
        HOST: { ...HOST, default: '127.0.0.1' },
        PORT: { ...PORT, description: 'port of the webhooks' },
        ...localVariables,
      },
      'The processes get every other variable too: `bridge config` lists them.',
    )
    .does(({ exitAfter, traffic, reader, rate, seed }: Options) =>
      runBridge({
        exitAfterMs: exitAfter === undefined ? undefined : exitAfter * 1_000,
        traffic,
        reader,
        ratePerSecond: rate,
        seed: seed ?? Date.now() % 1_000_000,
        write: (line) => process.stdout.write(`${line}\n`),
      }),
    );
}

function positive(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) <= 0)
    throw new InvalidArgumentError('It must be a number above 0.');
  return Number(text);
}
