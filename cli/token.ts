import { parseArgs } from 'node:util';
import { bearerToken } from '../ingress/bearer.ts';
import { ingressVariables } from '../ingress/config.ts';
import { ConfigError } from '../process/config.ts';
import { idText } from '../vendors/json.ts';
import { UsageError, type Command } from './command.ts';
import { configured } from './environment.ts';

export const token: Command = {
  summary: 'make the bearer token of a HealthKit user',
  usage: `
Usage: bridge token healthkit [--] <user>

Prints the token that speaks for this user at /webhook/healthkit, and nothing else. The exporting app sends it as the
header "Authorization: Bearer <token>". The same user and secret give the same token. It holds until the secret is
taken out of APPLE_HEALTHKIT_SECRET, or the user is listed in the file that HEALTHKIT_REVOKED_FILE names.

Environment: APPLE_HEALTHKIT_SECRET or APPLE_HEALTHKIT_SECRET_FILE; of several secrets the first makes the token.
What is unset is taken from the local stack when one runs.
`,
  run(args) {
    const userId = parse(args);
    const { APPLE_HEALTHKIT_SECRET } = ingressVariables(process.env);
    const [secret] = configured({ APPLE_HEALTHKIT_SECRET }).APPLE_HEALTHKIT_SECRET;
    if (secret === undefined)
      throw new ConfigError([`APPLE_HEALTHKIT_SECRET is required: ${APPLE_HEALTHKIT_SECRET.description}`]);
    process.stdout.write(`${bearerToken(userId, secret)}\n`);
    return Promise.resolve(0);
  },
};

function parse(args: string[]): string {
  let positionals: string[];
  try {
    ({ positionals } = parseArgs({ args, allowPositionals: true, options: {} }));
  } catch {
    throw new UsageError('there are no options; write -- before a user that begins with a dash');
  }
  const [device, user, ...more] = positionals;
  if (device !== 'healthkit') throw new UsageError('only healthkit has tokens');
  if (user === undefined || more.length > 0) throw new UsageError('name one user');
  const userId = idText(user);
  if (userId === null) throw new UsageError('a user is a text of 1 to 256 characters');
  return userId;
}
