/** What a client needs before it reads: asked at its start, so that what is missing is named at once. */
import { isRetriable, kafkaErrorType, type Admin } from '../../kafka/client.ts';
import { partitionCounts } from '../../kafka/topics.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { DeadlineError } from '../../process/deadline.ts';
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
  if (type?.includes('AUTHORIZATION') === true)
    return new NeurosStartError('rights', `the brokers refuse it (${type}): ${grants}`, { cause: error });
  const name = error instanceof Error ? error.name : 'unknown';
  // The client reports a refused login with this class and the server's words; a broker without logins has a type.
  if (name.includes('SASL') || type?.includes('SASL') === true)
    return new NeurosStartError('rights', 'the brokers refuse the login: check sasl', { cause: error });
  if (type !== undefined && !isRetriable(error))
    return new NeurosStartError('group', `the brokers answer ${type}`, { cause: error });
  return new NeurosStartError(
    'broker',
    `no broker answers at ${brokers.join(', ')} (${type ?? name}): start Kafka, or correct brokers and ssl`,
    { cause: error },
  );
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
      `there is no topic ${missing.join(', ')}, or this user may not see it: run \`bridge topics\`, or correct topicPrefix; ${grants}`,
    );
  if (!counts.has(deadLetters))
    throw new NeurosStartError(
      'dead_letter_topic',
      `there is no topic ${deadLetters} for records that cannot be handled: run \`bridge topics --reader ${reader}\``,
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
 * @throws NeurosStartError
 */
export async function checkSubjects(registry: SchemaRegistry, topics: readonly string[]): Promise<void> {
  try {
    for (const topic of topics) {
      const subject = subjectOf(topic);
      if ((await registry.lookupId(subject, biometricEventAvsc)) !== undefined) continue;
      const accepts = await registry.wouldAccept(subject, biometricEventAvsc);
      if (accepts === undefined)
        throw new NeurosStartError(
          'schema',
          `the schema registry at ${registry.url} has no schema under ${subject}: run \`bridge schemas register\`, or correct topicPrefix`,
        );
      if (!accepts)
        throw new NeurosStartError(
          'schema',
          `the schema registry at ${registry.url} has a schema under ${subject} that this version cannot read: install the version of biometric-bridge that the bridge runs`,
        );
    }
  } catch (error) {
    throw error instanceof RegistryError ? registryFault(registry, error) : error;
  }
}

/** Why a request to the registry has failed, or that it was not answered in time. */
export function registryFault(
  { url }: SchemaRegistry,
  error: RegistryError | DeadlineError,
): NeurosStartError {
  if (error instanceof RegistryError && error.code === 'unauthorized')
    return new NeurosStartError(
      'rights',
      `the schema registry at ${url} refuses the credentials: pass registry as { url, username, password }`,
      { cause: error },
    );
  const reason = error instanceof RegistryError ? error.code : 'no answer in time';
  return new NeurosStartError(
    'schema',
    `the schema registry at ${url} does not answer as one (${reason}): start it, or correct registry, which ends in /apis/ccompat/v7 for Apicurio`,
    { cause: error },
  );
}

/** What the alert store says is missing, or that it has not answered in time. */
export function alertsFault(error: unknown): NeurosStartError {
  const message =
    error instanceof DeadlineError
      ? 'the alert store does not answer in time: start it, or correct its address'
      : error instanceof Error
        ? error.message
        : 'the alert store rejects without an error';
  return new NeurosStartError('alerts', message, { cause: error });
}
