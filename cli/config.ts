import { sinkVariables } from '../consumers/postgres/main.ts';
import { ingressVariables } from '../ingress/config.ts';
import { describeConfig, readConfig, type VariableTable } from '../process/config.ts';
import { topologyVariables } from '../topology/config.ts';
import { UsageError, type Command } from './command.ts';
import { withLocalEnv } from '../local/env.ts';

const tables: Readonly<Record<string, (env: NodeJS.ProcessEnv) => VariableTable>> = {
  ingress: ingressVariables,
  topology: () => topologyVariables,
  sink: () => sinkVariables,
};

export const config: Command = {
  summary: 'print what a process would use of the environment',
  usage: `
Usage: bridge config [${Object.keys(tables).join('|')}]

Prints every variable of that process (or of all) with its value, secrets redacted, and what it means. All faults
are reported together, exit code 2.
`,
  run(args) {
    const [name, ...rest] = args;
    const chosen = Object.entries(tables).filter(([process]) => name === undefined || process === name);
    if (chosen.length === 0 || rest.length > 0)
      throw new UsageError(`takes one of ${Object.keys(tables).join(', ')}`);
    const env = withLocalEnv(process.env);
    for (const [title, tableOf] of chosen) {
      const table = tableOf(env);
      const shown = describeConfig(table, readConfig(table, env));
      process.stdout.write(`# ${title}\n`);
      for (const [variable, value] of Object.entries(shown)) {
        process.stdout.write(`${variable}=${value}\n    ${table[variable]?.description ?? ''}\n`);
      }
    }
    return Promise.resolve(0);
  },
};
