import { kafkaVariables, registryVariables } from '../process/config.ts';
import { checkHistory, checkSchemas, history, registerSchemas } from '../schemas/contract.ts';
import { schemaRegistry } from '../schemas/registry.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';

const variables = { ...registryVariables, TOPIC_PREFIX: kafkaVariables.TOPIC_PREFIX };

/** `bridge schemas`. */
export function define(command: Command): void {
  command
    .description(
      'Register or check the Avro schema of the priority topics. Exits with 1 after a fault, and when the registry is down.',
    )
    .environment(variables);
  command
    .command('register')
    .description('Set FULL_TRANSITIVE and register the schema for each priority topic. Safe to repeat.')
    .does(register);
  command
    .command('check')
    .description('Compare the schema with every version in schemas/history, and with the registry.')
    .option('--offline', 'do not ask the registry')
    .does(check);
}

async function register(): Promise<number> {
  const config = configured(variables);
  for (const { subject, id, isNew } of await registerSchemas(schemaRegistry(config), config.TOPIC_PREFIX)) {
    process.stdout.write(`${subject}: id ${id}${isNew ? ', new' : ''}\n`);
  }
  return 0;
}

async function check({ offline }: { offline?: true }): Promise<number> {
  const faults = checkHistory();
  process.stdout.write(`history: ${history().length} version(s) compared\n`);
  if (offline !== true) {
    const config = configured(variables);
    const registry = schemaRegistry(config);
    faults.push(...(await checkSchemas(registry, config.TOPIC_PREFIX)));
    process.stdout.write(`registry: ${registry.url} compared\n`);
  }
  for (const fault of faults) process.stderr.write(`${fault}\n`);
  process.stdout.write(faults.length === 0 ? 'no faults\n' : `${faults.length} fault(s)\n`);
  return faults.length === 0 ? 0 : 1;
}
