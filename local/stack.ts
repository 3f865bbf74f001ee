import { randomBytes } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { embedded, type Embedded, type Parts } from './embedded.ts';
import { stackDirectory, vendorSecrets, writeLocalEnv } from './env.ts';
import { StackError } from './errors.ts';
import { existingStack, namesOtherKafka } from './existing.ts';
import { takeLock } from './lock.ts';
import { checkJava } from './maven.ts';
import { endStrays, shown, type Part } from './part.ts';
import { fixedPorts, freePorts } from './ports.ts';
import { readState, wipe, writeState, type StackState } from './state.ts';

export type { Part };
export { StackError } from './errors.ts';

export interface StackOptions {
  /** Where data, logs and pid files go; relative to the clone. Default LOCAL_DIRECTORY, else `.local`. */
  readonly directory?: string;
  /** Default 1. Three replicate everything (min.insync.replicas 2). */
  readonly brokers?: 1 | 3;
  /** `fixed`, the default: the LOCAL_…_PORT variables. `free`: any, for runs that must not meet others. */
  readonly ports?: 'fixed' | 'free';
  /** Wipe the directory's data first, and do not protect it from a crash of the machine. Default false. */
  readonly fresh?: boolean;
  /** Leave the stack running when this process ends; `stop` still stops it. Default false. */
  readonly detached?: boolean;
  /** What the user started, for messages to others. Default: the npm script that runs now. */
  readonly owner?: string;
  /** Default the process environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Called with one line per step. */
  readonly onProgress?: (line: string) => void;
  /** Ends a start that is under way: what had been started is stopped and the promise rejects with ABORTED. */
  readonly signal?: AbortSignal;
}

/** A running stack. An existing one has no parts: it is not ours to stop. */
export interface Stack {
  readonly kind: 'existing' | 'embedded';
  /** What is used, in a line for people. */
  readonly description: string;
  /** A stack that was running already: `stop` leaves it running. */
  readonly reused: boolean;
  /** Whether any part had to be started; false when all was up already. */
  readonly started: boolean;
  /** KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL, POSTGRES_URL, REDIS_URL if there is one, TOPIC_…, the secrets. */
  readonly env: Record<string, string>;
  readonly kafka: Parts['kafka'];
  readonly registry: Parts['registry'] | null;
  readonly postgres: Parts['postgres'] | null;
  readonly redis: Parts['redis'];
  stop(): Promise<void>;
}

/**
 * Starts, or finds, Kafka, the schema registry, Postgres and (where installed) Redis, and resolves once all are
 * healthy. KAFKA_BOOTSTRAP_SERVERS set: uses what exists. Else, with Java and Maven: processes of this machine.
 * A stack that `bridge local up` left running is used as it is. What a killed run left is ended first.
 * @throws StackError; nothing is left running then.
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const env = options.env ?? process.env;
  const directory = stackDirectory(env, options.directory);
  const onProgress = options.onProgress ?? (() => undefined);
  if (namesOtherKafka(env, directory)) {
    const stack = existingStack(env, directory);
    onProgress(stack.description);
    return stack;
  }
  const lock = lockFor(directory, options);
  try {
    const java = await requireJava(env);
    const kept = await keptStack(directory, options);
    const reused = kept !== undefined;
    const state = kept ?? (await newState(directory, options));
    const description =
      `local stack: embedded (${java}, processes of this machine), data in ${shown(directory)}` +
      (reused ? ', left running by bridge local up' : '');
    onProgress(description);
    const stack = embeddedOf(state, directory, options);
    const stopOwn = async (): Promise<void> => {
      if (reused) return;
      await stack.stop();
      writeState(directory, { ...state, kept: false });
    };
    writeState(directory, { ...state, kept: state.kept || options.detached === true });
    const started = await stack.start().catch(async (error: unknown) => {
      await stopOwn();
      throw error;
    });
    const stackEnv = {
      ...(await stack.addresses()),
      TOPIC_PARTITIONS: '4',
      TOPIC_REPLICATION_FACTOR: String(state.brokers),
      ...vendorSecrets(directory),
    };
    writeLocalEnv(directory, stackEnv);
    if (options.detached === true) lock.release();
    return {
      kind: 'embedded',
      description,
      reused,
      started,
      env: stackEnv,
      kafka: stack.kafka,
      registry: stack.registry,
      postgres: stack.postgres,
      redis: stack.redis,
      async stop() {
        await stopOwn();
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    // Ctrl-C reaches the short-lived programs too (java -version, initdb): their failure is a consequence then.
    if (options.signal?.aborted === true) {
      throw new StackError('ABORTED', 'the start of the local stack was ended', { cause: error });
    }
    throw error;
  }
}

/**
 * Stops the stack of a directory, whichever process started it.
 * @returns whether anything was running.
 * @throws StackError STACK_RUNNING while another process uses it.
 */
export async function stopStack(options: StackOptions = {}): Promise<boolean> {
  const directory = stackDirectory(options.env, options.directory);
  const lock = takeLock(directory, ownerOf(options));
  try {
    return await endLeftovers(directory, options);
  } finally {
    lock.release();
  }
}

/** Stops the stack of a directory and removes all its data. */
export async function resetStack(options: StackOptions = {}): Promise<void> {
  const directory = stackDirectory(options.env, options.directory);
  const lock = takeLock(directory, ownerOf(options));
  try {
    await endLeftovers(directory, options);
    wipe(directory);
  } finally {
    lock.release();
  }
}

/** A cluster id for brokers that are to be formatted. */
export function newClusterId(): string {
  // Kafka refuses ids that begin with a dash: they would look like an option.
  for (;;) {
    const id = randomBytes(16).toString('base64url');
    if (!id.startsWith('-')) return id;
  }
}

/** The Java that runs the embedded stack, for people. */
async function requireJava(env: NodeJS.ProcessEnv): Promise<string> {
  const java = await checkJava(env);
  if (java.usable) return java.found;
  throw new StackError(
    'NO_STACK',
    `Kafka cannot be started on this machine: ${java.found}. Do one of these:\n` +
      '  1. install Java 17 or newer and Maven: Kafka, registry and Postgres then run as processes of this machine;\n' +
      '  2. with a Docker engine, run `docker compose -f docker-compose.kafka.yml up --wait` and set the environment\n' +
      '     that the first lines of that file list;\n' +
      '  3. set KAFKA_BOOTSTRAP_SERVERS, SCHEMA_REGISTRY_URL and POSTGRES_URL to services that run already.',
  );
}

/** Looking at a stack that is kept and up changes nothing, so `bridge local up` may do it while others use it. */
function lockFor(directory: string, options: StackOptions): { release(): void } {
  try {
    return takeLock(directory, ownerOf(options));
  } catch (error) {
    const state = readState(directory);
    if (options.detached !== true || state?.kept !== true) throw error;
    if (!embeddedOf(state, directory, options).all.every((part) => part.running())) throw error;
    return { release: () => undefined };
  }
}

function ownerOf(options: StackOptions): string {
  const script = (options.env ?? process.env)['npm_lifecycle_event'] ?? '';
  return options.owner ?? (script === '' ? 'another program' : `npm ${script}`);
}

/**
 * Answers the kept stack that runs in the directory; ends everything else that is left there, and wipes it when the
 * options ask for a fresh one.
 */
async function keptStack(directory: string, options: StackOptions): Promise<StackState | undefined> {
  const state = readState(directory);
  if (options.fresh === true) {
    await endLeftovers(directory, options);
    wipe(directory);
    return undefined;
  }
  if (state === undefined) return undefined;
  const brokers = options.brokers ?? state.brokers;
  if (state.brokers !== brokers) {
    throw new StackError(
      'OTHER_DATA',
      `${directory} holds the data of the embedded stack with ${count(state.brokers)}, not with ${count(brokers)}. ` +
        'bridge local reset removes that data; LOCAL_DIRECTORY names another place for a second stack.',
    );
  }
  const { all } = embeddedOf(state, directory, options);
  if (state.kept && all.some((part) => part.running())) {
    await endOthers(directory, all, options);
    return state;
  }
  await endLeftovers(directory, options);
  return undefined;
}

async function newState(directory: string, options: StackOptions): Promise<StackState> {
  const env = options.env ?? process.env;
  const before = readState(directory);
  const brokers = options.brokers ?? before?.brokers ?? 1;
  return {
    brokers,
    clusterId: before?.clusterId ?? newClusterId(),
    ports: options.ports === 'free' ? await freePorts(brokers) : fixedPorts(env, brokers),
    redis: findProgram('redis-server', env),
    kept: false,
  };
}

async function endLeftovers(directory: string, options: StackOptions): Promise<boolean> {
  const state = readState(directory);
  const left = state === undefined ? undefined : embeddedOf(state, directory, options);
  await endOthers(directory, left?.all ?? [], options);
  if (state === undefined || left === undefined) return false;
  const running = left.all.some((part) => part.running());
  if (running) options.onProgress?.(`stopping the stack that runs in ${directory}`);
  await left.stop();
  writeState(directory, { ...state, kept: false });
  return running;
}

/** Ends what a killed `npm start` left running next to the stack itself: the bridge's own processes. */
function endOthers(directory: string, parts: readonly Part[], options: StackOptions): Promise<void> {
  const onProgress = options.onProgress ?? (() => undefined);
  return endStrays(directory, { keep: parts.map(({ name }) => name), onProgress });
}

function embeddedOf(state: StackState, directory: string, options: StackOptions): Embedded {
  return embedded(state, {
    directory,
    env: options.env ?? process.env,
    durable: options.fresh !== true,
    onProgress: options.onProgress ?? (() => undefined),
    signal: options.signal,
  });
}

function findProgram(name: string, env: NodeJS.ProcessEnv): string | null {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    if (folder === '') continue;
    try {
      accessSync(join(folder, name), constants.X_OK);
      return join(folder, name);
    } catch {
      continue;
    }
  }
  return null;
}

function count(brokers: number): string {
  return brokers === 1 ? 'one broker' : `${brokers} brokers`;
}
