/** What a client needs before it reads: asked at its start, so that what is missing is named at once. */
import { isRetriable, kafkaErrorType, type Admin } from '../../kafka/client.ts';
import { partitionCounts } from '../../kafka/topics.ts';
import { DeadlineError } from '../../process/deadline.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { subjectOf } from '../../schemas/contract.ts';
import { RegistryError, type SchemaRegistry } from '../../schemas/registry.ts';

export type NeurosStartErrorCode =
  /** No broker answers. */
  | 'broker'
  /** A priority topic is missing, or not as the others. */
  | 'topic'
  /** The registry does not answer, has no schema for a topic, or one that this version cannot read. */
  | 'schema'
  /** The brokers or the registry refuse what the client needs. */
  | 'rights'
  /** The dead-letter topic is missing. */
  | 'dead_letter_topic'
  /** The alert store is not usable. */
  | 'alerts'
  /** The group does not take the client as a member. */
  | 'group';

/** The client cannot start; the message says what is missing, and what to do. */
export class NeurosStartError extends Error {
  override readonly name = 'NeurosStartError';
  readonly code: NeurosStartErrorCode;
  constructor(code: NeurosStartErrorCode, message: string, options?: ErrorOptions) {
    super(`NeurosClient cannot start: ${message}`, options);
    this.code = code;
  }
}

/** The error of a request to the brokers, as the fault that it is. */
export function brokerFault(error: unknown, brokers: readonly string[]): NeurosStartError {
  if (error instanceof NeurosStartError) return error;
  const type = kafkaErrorType(error);
  if (type === 'ILLEGAL_SASL_STATE' || type === 'UNSUPPORTED_SASL_MECHANISM')
    return new NeurosStartError(
      'rights',
      `the listener takes no such login (${type}): correct sasl and ssl, or the port`,
      { cause: error },
    );
  if (type?.includes('AUTHORIZATION') === true || type?.includes('SASL') === true)
    return new NeurosStartError('rights', `the brokers refuse it (${type}): ${grants}`, { cause: error });
  const name = error instanceof Error ? error.name : 'unknown';
  // The client reports a refused login with this class and the server's words.
  if (name.includes('SASL'))
    return new NeurosStartError('rights', 'the brokers refuse the login: check sasl', { cause: error });
  if (type !== undefined && !isRetriable(error))
    return new NeurosStartError('group', `the brokers answer ${type}`, { cause: error });
  const reason = error instanceof DeadlineError ? 'not in time' : (type ?? name);
  return new NeurosStartError(
    'broker',
    `no broker answers at ${brokers.join(', ')} (${reason}): start Kafka, or correct brokers and ssl`,
    { cause: error },
  );
}

/** The error of a request to the registry, as the fault that it is. */
export function registryFault(error: unknown, url: string): NeurosStartError {
  if (error instanceof NeurosStartError) return error;
  const code = error instanceof RegistryError ? error.code : undefined;
  if (code === 'unauthorized')
    return new NeurosStartError(
      'rights',
      `the schema registry at ${url} refuses the credentials: pass registry as { url, username, password }`,
      { cause: error },
    );
  const reason = error instanceof DeadlineError ? 'not in time' : (code ?? 'unknown failure');
  return new NeurosStartError(
    'schema',
    `the schema registry at ${url} does not answer as one (${reason}): start it, or correct registry, which ends in /apis/ccompat/v7 for Apicurio`,
    { cause: error },
  );
}

/** The error of an alert store's start, which says what to do. */
export function alertsFault(error: unknown): NeurosStartError {
  if (error instanceof DeadlineError)
    return new NeurosStartError('alerts', 'the alert store does not answer in time: start it', {
      cause: error,
    });
  const message = error instanceof Error ? error.message : 'unknown failure';
  return new NeurosStartError('alerts', message, { cause: error });
}

const grants =
  'grant the user READ and DESCRIBE of the priority topics, WRITE of the dead-letter topic, and READ of the three groups';

/**
 * The partition count of the priority topics.
 * @throws NeurosStartError naming the topics that are missing.
 */
export async function partitionsOf(
  admin: Admin,
  { topics, deadLetters, reader }: { topics: readonly string[]; deadLetters: string; reader: string },
): Promise<number> {
  const counts = await partitionCounts(admin, [...topics, deadLetters]);
  const missing = topics.filter((topic) => !counts.has(topic));
  if (missing.length > 0)
    throw new NeurosStartError(
      'topic',
      `there is no topic ${missing.join(', ')}, or this user may not see it: run \`npx bridge topics\` in a clone of the bridge, or correct topicPrefix; ${grants}`,
    );
  if (!counts.has(deadLetters))
    throw new NeurosStartError(
      'dead_letter_topic',
      `there is no topic ${deadLetters} for records that cannot be handled: run \`npx bridge topics --reader ${reader}\` in a clone of the bridge`,
    );
  const [count = 0, ...others] = topics.map((topic) => counts.get(topic));
  if (others.some((other) => other !== count))
    throw new NeurosStartError(
      'topic',
      `${topics.join(', ')} have ${[count, ...others].join(', ')} partitions, but need the same number`,
    );
  return count;
}

/**
 * Checks that the registry has a schema for each topic that this version can read. A registry may be older or newer.
 * @throws NeurosStartError, or RegistryError where the registry does not answer.
 */
export async function checkSubjects(registry: SchemaRegistry, topics: readonly string[]): Promise<void> {
  for (const topic of topics) {
    const subject = subjectOf(topic);
    if ((await registry.lookupId(subject, biometricEventAvsc)) !== undefined) continue;
    const accepts = await registry.wouldAccept(subject, biometricEventAvsc);
    if (accepts === undefined)
      throw new NeurosStartError(
        'schema',
        `the schema registry at ${registry.url} has no schema under ${subject}: run \`npx bridge schemas register\` in a clone of the bridge, or correct topicPrefix`,
      );
    if (!accepts)
      throw new NeurosStartError(
        'schema',
        `the schema registry at ${registry.url} has a schema under ${subject} that this version cannot read: install the version of biometric-bridge that the bridge runs`,
      );
  }
}
