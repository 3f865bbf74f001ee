import { availableParallelism } from 'node:os';
import { InvalidArgumentError } from 'commander';
import { silentLog } from '../kafka/client.ts';
import { diffJson, diffText } from '../replay/diff-report.ts';
import { runDiff } from '../replay/diff-run.ts';
import { counted } from '../replay/diff-counts.ts';
import { replayVariables } from '../replay/deployment.ts';
import { exitCode } from '../replay/exit.ts';
import { yieldToOthers } from '../replay/priority.ts';
import { progressBar } from '../replay/progress.ts';
import { readRules, TriggerRulesError, type TriggerRule } from '../topology/triggers.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { defineGenerations } from './replay-generations.ts';
import { interruptible } from './interrupt.ts';
import { countOf, devicesOf, instantOf, openOut } from './options.ts';

const description = `Compare what this build makes of the raw topics with what has been published, and change nothing. It reads what the topology has committed, of the last 27 days, and runs the topology itself over it; what came before is taken from the state of the live topology.

Prints for each device how many raw records are compared and how many events are changed (and in which fields), re-routed, added or removed, and how many records are dead-lettered now or no longer. What no promotion can change is told apart and counts as no difference. Measurements are told only with --values.

Exits with 0 when there is no difference, 3 when there are some, 1 after a failure, 2 after a fault of usage, 4 when it refuses, 130 when it is interrupted.`;

interface Options {
  readonly device?: readonly VendorName[];
  readonly from?: number;
  readonly to?: number;
  readonly user?: string;
  readonly rules?: string;
  readonly parallel: number;
  readonly values?: true;
  readonly json?: true;
  readonly out?: string;
}

/** `bridge replay`. */
export function define(command: Command): void {
  command
    .description('Compute history again from the raw topics, and see what would change.')
    .environment(replayVariables);
  command
    .command('diff')
    .summary('Compare what this build makes of the raw topics with what has been published.')
    .description(description)
    .option('--device <names>', `devices, separated by commas (default: ${vendorNames.join(',')})`, devicesOf)
    .option('--from <date>', 'compare records received from then on: YYYY-MM-DD (UTC) or RFC 3339', instantOf)
    .option('--to <date>', 'compare records received before then', instantOf)
    .option('--user <user>', 'compare the records of one user, as the key of raw records names it')
    .option('--rules <file>', 'compute with the trigger rules of this file')
    .option('--parallel <count>', 'raw partitions at a time', countOf, availableParallelism())
    .option('--values', 'tell measurements, before and after')
    .option('--json', 'print a JSON object')
    .option(
      '--out <file>',
      'write each difference as a JSON line, user ids among it, to a new file that only its owner can read',
    )
    .does(diff);
  defineGenerations(command);
}

async function diff(options: Options): Promise<number> {
  const { device = vendorNames, from: fromMs, to: toMs, user, parallel } = options;
  if (fromMs !== undefined && toMs !== undefined && fromMs >= toMs)
    throw new InvalidArgumentError('--from must be earlier than --to');
  const config = configured(replayVariables);
  yieldToOthers();
  const rules = options.rules === undefined ? undefined : rulesOf(options.rules);
  return interruptible(async (signal) => {
    const out = options.out === undefined ? undefined : openOut(options.out);
    const progress = progressBar('diff', 0);
    try {
      const devices = await runDiff({
        config,
        log: silentLog,
        devices: device,
        rules,
        options: { fromMs, toMs, user, values: options.values === true },
        parallel,
        signal,
        ...(out === undefined ? {} : { onDifference: out.write }),
        progress,
      });
      progress.stop();
      process.stdout.write(options.json === true ? diffJson(devices) : diffText(devices));
      return devices.some((each) => counted(each) > 0) ? exitCode.different : exitCode.done;
    } finally {
      progress.stop();
      out?.close();
    }
  });
}

function rulesOf(file: string): readonly TriggerRule[] {
  try {
    return readRules(file);
  } catch (error) {
    if (!(error instanceof TriggerRulesError)) throw error;
    throw new InvalidArgumentError(error.message.replace('TRIGGER_RULES_FILE', '--rules'));
  }
}
