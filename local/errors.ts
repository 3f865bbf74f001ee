/** Why the local stack cannot start or stop; each message says what to do next. */
export type StackErrorCode =
  /** Another live process holds this directory's stack; ask it to end first. */
  | 'STACK_RUNNING'
  /** Another program uses a port; the message names the variable that changes it. */
  | 'PORT_TAKEN'
  /** The environment names no Kafka, and this machine lacks what it takes to run one. */
  | 'NO_STACK'
  /** KAFKA_BOOTSTRAP_SERVERS is set, but the variables that must accompany it are not. */
  | 'EXISTING_INCOMPLETE'
  /** The data in the directory belongs to a stack with another number of brokers; only a reset removes it. */
  | 'OTHER_DATA'
  /** Maven could not fetch the software. */
  | 'FETCH_FAILED'
  /** A part ended by itself, failed, or was not healthy in time; the message holds the end of its log. */
  | 'PART_FAILED'
  /** The caller's signal ended the start; what had been started is stopped again. */
  | 'ABORTED';

export class StackError extends Error {
  override readonly name = 'StackError';
  readonly code: StackErrorCode;
  constructor(code: StackErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}
