import { Argument } from 'commander';
import { sinkVariables } from '../consumers/postgres/main.ts';
import { ingressVariables } from '../ingress/config.ts';
import { describeConfig, type VariableTable } from '../process/config.ts';
import { topologyVariables } from '../topology/config.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';

/** `bridge config`. */
export function define(command: Command): void {
  const tables: Readonly<Record<string, VariableTable>> = {
    ingress: ingressVariables(process.env),
    topology: topologyVariables,
    sink: sinkVariables,
  };
  command
    .description(
      `Print every variable of a process, or of all of them, with its value and its meaning. Secrets are redacted. When the environment is not usable, print all faults of a process together and exit with 2.`,
    )
    .addArgument(
      new Argument('[process]', 'print only the variables of this process').choices(Object.keys(tables)),
    )
    .environment({}, 'The variables of the process: `bridge <process> --help` lists them.')
    .does((chosen: string | undefined) => {
      for (const [name, table] of Object.entries(tables))
        if (chosen === undefined || chosen === name) print(name, table);
      return 0;
    });
}

function print(title: string, table: VariableTable): void {
  process.stdout.write(`# ${title}\n`);
  for (const [variable, value] of Object.entries(describeConfig(table, configured(table))))
    process.stdout.write(`${variable}=${value}\n    ${table[variable]?.description ?? ''}\n`);
}
