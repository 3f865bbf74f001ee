import { withLocalEnv } from '../local/env.ts';
import { createLog, type Logger } from '../process/log.ts';
import { readConfig, type Config, type VariableTable } from '../process/config.ts';

/**
 * Reads the variables of `table` from the environment, else from the local stack's file.
 * @throws ConfigError naming every fault.
 */
export function configured<T extends VariableTable>(table: T): Config<T> {
  return readConfig(table, withLocalEnv(process.env));
}

/** The log of the process `name`. */
export function logOf(
  name: string,
  config: { readonly SERVICE_NAME: string; readonly LOG_LEVEL: string },
): Logger {
  return createLog({ name: `${config.SERVICE_NAME}/${name}`, level: config.LOG_LEVEL });
}
