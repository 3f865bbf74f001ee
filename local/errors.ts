/** What can keep the local stack from starting or stopping; each message says what to do next. */
export type StackErrorCode =
  /** Another live process holds this directory's stack; ask it to end first. */
  | 'STACK_RUNNING'
  /** A port is in use by somebody else; the message names the variable that changes it. */
  | 'PORT_TAKEN'
  /** Neither Kafka given, nor Java and Maven, nor a Docker engine; or what LOCAL_STACK asks for is not there. */
  | 'NO_STACK'
  /** KAFKA_BOOTSTRAP_SERVERS is set, but not what must come with it. */
  | 'GIVEN_INCOMPLETE'
  /** The data in the directory belongs to a stack of another shape; only a reset gets rid of it. */
  | 'OTHER_DATA'
  /** Maven could not fetch the software. */
  | 'FETCH_FAILED'
  /** A part ended by itself or was not healthy in time; the message names its log. */
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
