import { randomBytes } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { projectRoot } from '../process/root.ts';
import { docker } from './docker.ts';
import { embedded, type Parts, type Runner } from './embedded.ts';
import { stackDirectory, vendorSecrets, writeLocalEnv } from './env.ts';
import { StackError } from './errors.ts';
import { given, isGiven } from './existing.ts';
import { takeLock } from './lock.ts';
import { endStrays, shown, type Part } from './part.ts';
import { fixedPorts, freePorts } from './ports.ts';
import { readState, wipe, writeState, type StackState } from './state.ts';
import { chooseWay } from './way.ts';

export type { Part };
export { StackError } from './errors.ts';

export interface StackOptions {
  /** Where data, logs and pid files go; relative to the clone. Default LOCAL_DIRECTORY, else `.local`. */
  readonly directory?: string;
  /** Default 1. Three replicate everything (min.insync.replicas 2) and need the embedded stack. */
  readonly brokers?: 1 | 3;
  /** `fixed`, the default: the LOCAL_…_PORT variables. `free`: any, for runs that must not meet others. */
  readonly ports?: 'fixed' | 'free';
  /** Wipe the directory's data first, and do not care for its survival (no fsync). Default false. */
  readonly fresh?: boolean;
  /** Leave the stack running when this process ends; `stop` still stops it. Default false. */
  readonly detached?: boolean;
  /** What the user started, for messages to others. Default `npm start` or what else npm runs now. */
  readonly owner?: string;
  /** Default the process environment. */
  readonly env?: NodeJS.ProcessEnv;
  /** Called with one line per step. */
  readonly onProgress?: (line: string) => void;
  /** Ends a start that is under way: what had been started is stopped and the promise rejects with ABORTED. */
  readonly signal?: AbortSignal;
}

/** A running stack. Parts are null, and there are no brokers, when the stack was given and is not ours to stop. */
export interface Stack {
  readonly path: 'given' | 'embedded' | 'docker';
  /** The path taken, in a line for people. */
  readonly description: string;
  /** A stack that `bridge local up` had left running: `stop` leaves it running too. */
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
 * healthy. KAFKA_BOOTSTRAP_SERVERS set: what is given is used. Else Java and Maven: processes of this machine.
 * Else a Docker engine: docker-compose.kafka.yml. LOCAL_STACK=embedded|docker decides by hand.
 * A stack left running by `bridge local up` is used as it is. What a killed run left is ended first.
 * @throws StackError; nothing is left running then.
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const env = options.env ?? process.env;
  const directory = stackDirectory(env, options.directory);
  const onProgress = options.onProgress ?? (() => undefined);
  if (isGiven(env, directory)) {
    const stack = given(env, directory);
    onProgress(stack.description);
    return stack;
  }
  const lock = await lockFor(directory, options);
  try {
    const way = await chooseWay(env);
    const found = await clearTheWay(directory, way.path, options, env);
    const reused = found !== undefined;
    const state = found ?? (await newState(directory, way.path, options, env));
    const description = `local stack: ${way.description}, data in ${shown(directory)}${reused ? ', left running by bridge local up' : ''}`;
    onProgress(description);
    const runner = runnerOf(state, directory, options);
    writeState(directory, { ...state, kept: state.kept || options.detached === true });
    let started: boolean;
    try {
      started = await runner.start();
    } catch (error) {
      if (!reused) {
        await runner.stop();
        writeState(directory, { ...state, kept: false });
      }
      throw error;
    }
    const stackEnv = {
      ...(await runner.addresses()),
      TOPIC_PARTITIONS: '4',
      TOPIC_REPLICATION_FACTOR: String(state.brokers),
      ...vendorSecrets(directory),
    };
    writeLocalEnv(directory, stackEnv);
    if (options.detached === true) lock.release();
    return {
      path: state.path,
      description,
      reused,
      started,
      env: stackEnv,
      kafka: runner.kafka,
      registry: runner.registry,
      postgres: runner.postgres,
      redis: runner.redis,
      async stop() {
        if (!reused) {
          await runner.stop();
          writeState(directory, { ...state, kept: false });
        }
        lock.release();
      },
    };
  } catch (error) {
    lock.release();
    // Ctrl-C reaches the short-lived helpers too (java -version, initdb): their failure is not the story then.
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
    await wipeAll(directory, options);
  } finally {
    lock.release();
  }
}

/** Looking at a stack that is kept and up changes nothing, so `bridge local up` may do it while others use it. */
async function lockFor(directory: string, options: StackOptions): Promise<{ release(): void }> {
  try {
    return takeLock(directory, ownerOf(options));
  } catch (error) {
    const state = readState(directory);
    if (options.detached !== true || state?.kept !== true) throw error;
    const parts = allParts(runnerOf(state, directory, options));
    for (const part of parts) if (!(await part.running())) throw error;
    return { release: () => undefined };
  }
}

function ownerOf(options: StackOptions): string {
  const script = (options.env ?? process.env)['npm_lifecycle_event'] ?? '';
  return options.owner ?? (script === '' ? 'another program' : `npm ${script}`);
}

/** Answers the kept stack that runs here; ends everything else that is left here, and wipes it when asked to. */
async function clearTheWay(
  directory: string,
  path: StackState['path'],
  options: StackOptions,
  env: NodeJS.ProcessEnv,
): Promise<StackState | undefined> {
  const state = readState(directory);
  if (options.fresh === true) {
    await endLeftovers(directory, options);
    await wipeAll(directory, options);
    return undefined;
  }
  if (state === undefined) return undefined;
  const brokers = options.brokers ?? state.brokers;
  if (state.path !== path || state.brokers !== brokers) {
    const has = `the ${state.path} stack with ${count(state.brokers)}`;
    throw new StackError(
      'OTHER_DATA',
      `${directory} holds the data of ${has}, not of the ${path} one with ${count(brokers)}. ` +
        'bridge local reset removes that data; LOCAL_DIRECTORY names another place for a second stack.',
    );
  }
  if (state.kept && (await anyRunning(runnerOf(state, directory, { ...options, env })))) {
    await endOthers(directory, state, options);
    return state;
  }
  await endLeftovers(directory, options);
  return undefined;
}

async function newState(
  directory: string,
  path: StackState['path'],
  options: StackOptions,
  env: NodeJS.ProcessEnv,
): Promise<StackState> {
  const before = readState(directory);
  const brokers = options.brokers ?? before?.brokers ?? 1;
  if (path === 'docker' && brokers !== 1) {
    throw new StackError('NO_STACK', 'three brokers need the embedded stack: install Java 17 and Maven');
  }
  return {
    path,
    brokers,
    clusterId: before?.clusterId ?? newClusterId(),
    ports: options.ports === 'free' ? await freePorts(brokers) : fixedPorts(env, brokers),
    redis: path === 'docker' ? 'redis' : findProgram('redis-server', env),
    kept: false,
  };
}

async function endLeftovers(directory: string, options: StackOptions): Promise<boolean> {
  const state = readState(directory);
  await endOthers(directory, state, options);
  if (state === undefined) return false;
  const runner = runnerOf(state, directory, { ...options, signal: undefined });
  const running = await anyRunning(runner);
  if (running) options.onProgress?.(`stopping the stack that runs in ${directory}`);
  await runner.stop();
  writeState(directory, { ...state, kept: false });
  return running;
}

/** Ends what a killed `npm start` left running beside the stack itself: the bridge's own processes. */
async function endOthers(
  directory: string,
  state: StackState | undefined,
  options: StackOptions,
): Promise<void> {
  const parts =
    state === undefined ? [] : allParts(runnerOf(state, directory, { ...options, signal: undefined }));
  const onProgress = options.onProgress ?? (() => undefined);
  await endStrays(directory, { keep: parts.map(({ name }) => name), onProgress });
}

async function wipeAll(directory: string, options: StackOptions): Promise<void> {
  const state = readState(directory);
  if (state?.path === 'docker') await docker(state, runnerOptions(directory, options)).removeVolumes();
  wipe(directory);
}

function runnerOf(state: StackState, directory: string, options: RunnerOptions): Runner {
  const all = runnerOptions(directory, options);
  return state.path === 'docker' ? docker(state, all) : embedded(state, all);
}

type RunnerOptions = Omit<StackOptions, 'signal'> & { readonly signal?: AbortSignal | undefined };

function runnerOptions(directory: string, options: RunnerOptions): Parameters<typeof embedded>[1] {
  return {
    directory,
    root: projectRoot(),
    env: options.env ?? process.env,
    durable: options.fresh !== true,
    onProgress: options.onProgress ?? (() => undefined),
    signal: options.signal,
  };
}

async function anyRunning(parts: Parts): Promise<boolean> {
  for (const part of allParts(parts)) if (await part.running()) return true;
  return false;
}

function allParts(parts: Parts): Part[] {
  const { kafka, registry, postgres, redis } = parts;
  return [...kafka.brokers, registry, postgres, ...(redis === null ? [] : [redis])];
}

/** A cluster id for brokers that are to be formatted. */
export function newClusterId(): string {
  // Kafka refuses ids that begin with a dash: they would look like an option.
  for (;;) {
    const id = randomBytes(16).toString('base64url');
    if (!id.startsWith('-')) return id;
  }
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
