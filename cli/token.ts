import { InvalidArgumentError } from 'commander';
import { bearerToken } from '../vendors/bearer.ts';
import { ingressVariables } from '../ingress/config.ts';
import { ConfigError } from '../process/config.ts';
import { idText } from '../vendors/json.ts';
import type { Command } from './command.ts';
import { configured } from './environment.ts';

/** `bridge token`. */
export function define(command: Command): void {
  const { APPLE_HEALTHKIT_SECRET } = ingressVariables(process.env);
  command
    .description(
      `Print the token that authenticates a user at /webhook/healthkit, and nothing else. The exporting app sends it in the header "Authorization: Bearer <token>". The same user and secret give the same token. It is valid until the secret is removed from APPLE_HEALTHKIT_SECRET, or the user is listed in the file that HEALTHKIT_REVOKED_FILE names.`,
    )
    .environment({ APPLE_HEALTHKIT_SECRET });
  command
    .command('healthkit')
    .description('Print the token of a user, made with the first of the configured secrets.')
    .argument('<user>', 'the user id; write -- before one that begins with a dash', userId)
    .does((user: string) => {
      const [secret] = configured({ APPLE_HEALTHKIT_SECRET }).APPLE_HEALTHKIT_SECRET;
      if (secret === undefined)
        throw new ConfigError([`APPLE_HEALTHKIT_SECRET is required: ${APPLE_HEALTHKIT_SECRET.description}`]);
      process.stdout.write(`${bearerToken(user, secret)}\n`);
      return 0;
    });
}

function userId(text: string): string {
  const id = idText(text);
  if (id === null) throw new InvalidArgumentError('A user id has 1 to 256 characters.');
  return id;
}
