import { parseArgs } from 'node:util';
import { runBridge } from '../local/run.ts';
import { UsageError, type Command } from './command.ts';

export const start: Command = {
  summary: 'run everything on this machine with signed sample traffic',
  usage: `
Usage: npm start -- [--exit-after SECONDS] [--no-traffic] [--rate PER_SECOND] [--seed N]

Starts the local stack, creates topics, registers schemas, migrates the database, runs ingress, topology and the
Postgres sink, sends signed sample webhooks and prints a line for each event that reaches a priority topic.
Ctrl-C stops everything it started, in order.

  --exit-after SECONDS  send for that long, wait for what was accepted, print the books as one JSON line, and stop;
                        exit 0 only if everything accepted is accounted for and every event is the expected one
  --no-traffic          send nothing
  --rate PER_SECOND     sample webhooks per second (20)
  --seed N              repeat the sample traffic of an earlier run; each run prints its seed

Environment: PORT (8889), HOST (127.0.0.1), KAFKA_BOOTSTRAP_SERVERS to use brokers that run already, and the ports
of the local stack: bridge local --help lists them.
`,
  run(args) {
    const options = parse(args);
    return runBridge({
      exitAfterMs:
        options['exit-after'] === undefined
          ? undefined
          : positive('exit-after', options['exit-after']) * 1_000,
      traffic: options['no-traffic'] !== true,
      ratePerSecond: positive('rate', options.rate ?? '20'),
      seed: options.seed === undefined ? Date.now() % 1_000_000 : positive('seed', options.seed),
      write: (line) => process.stdout.write(`${line}\n`),
    });
  },
};

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        'exit-after': { type: 'string' },
        'no-traffic': { type: 'boolean' },
        rate: { type: 'string' },
        seed: { type: 'string' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : 'unusable options');
  }
}

function positive(name: string, text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text) || Number(text) <= 0)
    throw new UsageError(`--${name} takes a number above 0`);
  return Number(text);
}
