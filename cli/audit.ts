import { availableParallelism } from 'node:os';
import { InvalidArgumentError, Option } from 'commander';
import { silentLog } from '../kafka/client.ts';
import type { AuditException } from '../replay/audit-figures.ts';
import { auditJson, auditText, exceptionsIn } from '../replay/audit-report.ts';
import { audit } from '../replay/audit.ts';
import { replayVariables } from '../replay/deployment.ts';
import { exitCode } from '../replay/exit.ts';
import { yieldToOthers } from '../replay/priority.ts';
import { progressBar } from '../replay/progress.ts';
import { dayMs } from '../vendors/instant.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';
import { interruptible } from './interrupt.ts';
import { countOf, devicesOf, instantOf, openOut } from './options.ts';

const description = `Prove from the topics alone that each raw record that was accepted has ended in exactly one accounted way: in events, each once and in the right priority topic, in a dead letter, in both where it could be read in part, or in a drop that the audit computes again. Reads only, joins no group, and runs while the live system does.

Prints for each device what its records ended in, and each exception with topic, partition and offset, but nothing of what anybody measured. What cannot be proved, because another build has dropped it or what decides lies before the log, is told apart and is no exception.

Exits with 0 when there is no exception, 1 when there are some or when it fails, 2 after a fault of usage, 4 when it refuses, 130 when it is interrupted.`;

const listed = 100;

interface Options {
  readonly from?: number;
  readonly to?: number;
  readonly device?: readonly VendorName[];
  readonly pendingAfter: number;
  readonly parallel: number;
  readonly json?: true;
  readonly out?: string;
}

/** `bridge audit`. */
export function define(command: Command): void {
  command
    .description(description)
    .option('--from <date>', 'judge records received from then on: YYYY-MM-DD (UTC) or RFC 3339', instantOf)
    .option('--to <date>', 'judge records received before then (default: now)', instantOf)
    .option('--device <names>', `devices, separated by commas (default: ${vendorNames.join(',')})`, devicesOf)
    .addOption(
      new Option(
        '--pending-after <time>',
        'what waits longer, to be processed or for its document, is an exception: 90s, 30m, 1h, 2d',
      )
        .argParser(durationOf)
        .default(3_600_000, '1h'),
    )
    .option('--parallel <count>', 'raw partitions at a time', countOf, availableParallelism())
    .option('--json', 'print a JSON object')
    .option('--out <file>', 'write every exception as a JSON line to a new file that only its owner can read')
    .environment(replayVariables)
    .does(run);
}

async function run(options: Options): Promise<number> {
  const nowMs = Date.now();
  const { from: fromMs = -Infinity, to: toMs = nowMs, device: vendors = vendorNames } = options;
  if (fromMs >= toMs) throw new InvalidArgumentError('--from must be earlier than --to');
  const config = configured(replayVariables);
  yieldToOthers();
  const out = options.out === undefined ? undefined : openOut(options.out);
  const progress = progressBar('audit', 0);
  const exceptions: AuditException[] = [];
  try {
    const result = await interruptible((signal) =>
      audit(config, {
        scope: { fromMs, toMs, nowMs, pendingAfterMs: options.pendingAfter },
        vendors,
        parallel: options.parallel,
        log: silentLog,
        signal,
        onException: (exception) => {
          if (exceptions.length < listed) exceptions.push(exception);
          out?.write(exception);
        },
        progress,
      }),
    );
    progress.stop();
    const listing = { vendors, exceptions, nowMs };
    process.stdout.write(options.json === true ? auditJson(result, listing) : auditText(result, listing));
    const count = exceptionsIn(result);
    if (count === 0) return exitCode.done;
    // A failure has the same exit code.
    process.stderr.write(`bridge audit: ${count === 1 ? 'an exception' : `${count} exceptions`}\n`);
    return exitCode.failed;
  } finally {
    progress.stop();
    out?.close();
  }
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: dayMs };

function durationOf(text: string): number {
  const [, digits = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  const of = unitMs[unit];
  if (of === undefined) throw new InvalidArgumentError('write a number and s, m, h or d: 90s, 30m, 1h, 2d');
  return Number(digits) * of;
}
