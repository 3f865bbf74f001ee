import { runUntilSignal } from '../process/run.ts';
import { topologyVariables } from '../topology/config.ts';
import { startTopology } from '../topology/main.ts';
import { UsageError, type Command } from './command.ts';
import { configured, logOf } from './environment.ts';

export const topology: Command = {
  summary: 'run the topology: raw topics in, prioritized events out, exactly once',
  usage: `
Usage: bridge topology [--reset]

Reads the raw topics, normalizes, analyzes and routes to the priority topics. Runs until SIGTERM or SIGINT; exits
non-zero with the reason when it cannot go on. Start more of them to share the work.

  --reset   a task whose changelogs hold state while the group has no offset of any of its raw partitions is refused,
            because reading those from the beginning would apply every record a second time; with this, the state of
            such tasks is deleted and rebuilt from what the raw topics hold. Tasks with offsets are not touched.

bridge config topology lists its environment.
`,
  async run(args) {
    const unknown = args.find((arg) => arg !== '--reset');
    if (unknown !== undefined) throw new UsageError(`unexpected ${JSON.stringify(unknown)}`);
    const config = configured(topologyVariables);
    const log = logOf('topology', config);
    return runUntilSignal(log, () => startTopology(config, log, { reset: args.includes('--reset') }));
  },
};
