import { parseArgs } from 'node:util';
import { withLocalEnv } from '../local/env.ts';
import { kafkaVariables, readConfig, registryVariables } from '../process/config.ts';
import { checkHistory, checkSchemas, history, registerSchemas } from '../schemas/contract.ts';
import { RegistryError, schemaRegistry } from '../schemas/registry.ts';
import { UsageError, type Command } from './command.ts';

const table = { ...registryVariables, TOPIC_PREFIX: kafkaVariables.TOPIC_PREFIX };

export const schemas: Command = {
  summary: 'register the contract in the schema registry, or check it',
  usage: `
Usage: bridge schemas register
       bridge schemas check [--offline]

register   sets FULL_TRANSITIVE and registers the contract for each priority topic; again = no change
check      compares the contract with every version in schemas/history and with the registry
  --offline  leaves the registry out

Environment: SCHEMA_REGISTRY_URL, SCHEMA_REGISTRY_USERNAME, SCHEMA_REGISTRY_PASSWORD, TOPIC_PREFIX.
What is unset is taken from the local stack when one runs. Exit 1: a fault was found, or the registry is down.
`,
  async run(args) {
    const { action, offline } = parse(args);
    try {
      return action === 'register' ? await register() : await check(offline);
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error;
      process.stderr.write(`bridge schemas ${action}: ${error.message}\n`);
      return 1;
    }
  },
};

function parse(args: string[]): { action: 'register' | 'check'; offline: boolean } {
  let parsed;
  try {
    parsed = parseArgs({ args, allowPositionals: true, options: { offline: { type: 'boolean' } } });
  } catch {
    throw new UsageError('there is no such option');
  }
  const [action, ...more] = parsed.positionals;
  const offline = parsed.values.offline === true;
  if ((action !== 'register' && action !== 'check') || more.length > 0) {
    throw new UsageError('say register or check');
  }
  if (offline && action === 'register') throw new UsageError('--offline is an option of check');
  return { action, offline };
}

async function register(): Promise<number> {
  const config = readConfig(table, withLocalEnv(process.env));
  for (const { subject, id, isNew } of await registerSchemas(schemaRegistry(config), config.TOPIC_PREFIX)) {
    process.stdout.write(`${subject}: id ${id}${isNew ? ', new' : ''}\n`);
  }
  return 0;
}

async function check(offline: boolean): Promise<number> {
  const faults = checkHistory();
  process.stdout.write(`history: ${history().length} version(s) compared\n`);
  if (!offline) {
    const config = readConfig(table, withLocalEnv(process.env));
    const registry = schemaRegistry(config);
    faults.push(...(await checkSchemas(registry, config.TOPIC_PREFIX)));
    process.stdout.write(`registry: ${registry.url} compared\n`);
  }
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.stdout.write(faults.length === 0 ? 'no faults\n' : `${faults.length} fault(s)\n`);
  return faults.length === 0 ? 0 : 1;
}
