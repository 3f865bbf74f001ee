import { runUntilSignal } from '../process/run.ts';
import { topologyVariables } from '../topology/config.ts';
import { startTopology } from '../topology/main.ts';
import type { Command } from './command.ts';
import { configured, logOf, noArguments } from './environment.ts';

export const topology: Command = {
  summary: 'run the topology: raw topics in, prioritized events out, exactly once',
  usage: `
Usage: bridge topology

Reads the raw topics, normalizes, analyzes and routes to the priority topics. Runs until SIGTERM or SIGINT; exits
non-zero with the reason when it cannot go on. Start more of them to share the work.

bridge config topology lists its environment.
`,
  async run(args) {
    noArguments(args);
    const config = configured(topologyVariables);
    const log = logOf('topology', config);
    return runUntilSignal(log, () => startTopology(config, log));
  },
};
