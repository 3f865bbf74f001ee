import { Option } from 'commander';
import { runUntilSignal } from '../process/run.ts';
import { topologyVariables } from '../topology/config.ts';
import { startTopology } from '../topology/main.ts';
import type { Command } from './command.ts';
import { generationOf } from './options.ts';
import { configured, logOf } from './environment.ts';

interface Flags {
  readonly reset?: boolean;
  readonly unseeded?: boolean;
  readonly from?: number;
}

/** `bridge topology`. */
export function define(command: Command): void {
  command
    .description(
      `Read the raw topics, normalize and analyze, and write to the priority topics until SIGTERM or SIGINT. Exits with 1 and the reason when it cannot continue, with 2 when another live process has the same INSTANCE_ID: of two, the younger exits. Start several to share the work.`,
    )
    .option(
      '--reset',
      `delete and rebuild the state of tasks whose changelogs hold state while the group has no offset of their raw partitions; without this option such a task is refused, because reading from the beginning would apply every record a second time. Tasks with offsets are not touched`,
    )
    .option(
      '--unseeded',
      'start a candidate (GENERATION above 0) without the state of the live generation: for a build that cannot read its layout. It corrects nothing then',
    )
    .addOption(
      new Option(
        '--from <generation>',
        'start a candidate that goes back: with the whole state of this generation, which was live before the live one, and from where that ended. Run the build of that time',
      )
        .argParser(generationOf)
        .conflicts('unseeded'),
    )
    .environment(topologyVariables)
    .does(({ reset = false, unseeded = false, from }: Flags) => {
      const config = configured(topologyVariables);
      const log = logOf('topology', config);
      return runUntilSignal(log, () => startTopology(config, log, { reset, unseeded, from }));
    });
}
