/** What a NeurosClient is given: where to read, what to call, and how. */
import type { ConnectionOptions } from 'node:tls';
import { priorities, type BiometricEvent, type Priority } from '../../schemas/biometric-event.ts';
import { readerDeadLetters, topicNames } from '../../schemas/topics.ts';
import type { Alert, AlertAttempt, Alerts } from './alerts/alerts.ts';
import { reservedBy, type Reserved } from './slots.ts';

/** What every handler is told about the record that it is called for. */
export interface RecordContext {
  readonly priority: Priority;
  readonly topic: string;
  readonly partition: number;
  readonly offset: bigint;
  /** The record's headers as text: `traceparent`, `build`, `correction` and the like. */
  readonly headers: Readonly<Record<string, string>>;
  /** 1 for the first call of this handler for this record in this process. */
  readonly attempt: number;
  /** Aborted when the handler has had `handlerTimeoutMs`, and when close() waits no longer. */
  readonly signal: AbortSignal;
}

/** What a handler of an alert is told: the event that raised it, or that withdraws it. */
export interface AlertContext extends RecordContext, AlertAttempt {
  readonly event: BiometricEvent;
}

/** A user of whom everything is to be erased. */
export interface Erasure {
  readonly user_id: string;
}

/** A handler fails by throwing, or by a promise that rejects; it is then called again. */
export interface NeurosHandlers {
  /** Every event, at least once: after a crash some come again. `event_id` with `generation` names an event. */
  readonly onEvent?: ((event: BiometricEvent, context: RecordContext) => unknown) | undefined;
  /** An alert, once: see the option `alerts` for what that means across a crash. */
  readonly onAlert?: ((alert: Alert, context: AlertContext) => unknown) | undefined;
  /** An alert that was announced and that no event raises any more: the version that did was replaced or retracted. */
  readonly onWithdrawn?: ((alert: Alert, context: AlertContext) => unknown) | undefined;
  /** A user is erased. It comes once for each priority topic, so it must be harmless to repeat. */
  readonly onErased?: ((erasure: Erasure, context: RecordContext) => unknown) | undefined;
}

/** How often a handler that fails is called again, and after which pauses. */
export interface Retries {
  /** Calls of one handler for one record in all; 5 by default. After the last the record goes to the dead letters. */
  readonly attempts?: number;
  /** Pause after the first failure, doubled by each one after it; 200 by default. */
  readonly initialMs?: number;
  /** The longest pause; 10,000 by default. */
  readonly maxMs?: number;
}

/** A log as pino's; console-like ones need a wrapper. */
export interface NeurosLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** How the handlers are called. */
export interface HandlingOptions extends NeurosHandlers {
  /** Where it is remembered which alerts were announced. Without it in memory: a restart forgets it. */
  readonly alerts?: Alerts;
  /** Announce also the alerts of events flagged `stale`, which were measured more than 48 h before they came in. */
  readonly announceStale?: boolean;
  /** Milliseconds that a handler may take; 30,000 by default. */
  readonly handlerTimeoutMs?: number;
  readonly retries?: Retries;
}

/** The options of a NeurosClient. */
export interface NeurosOptions extends HandlingOptions {
  /** `host:port` of one or more brokers. */
  readonly brokers: readonly string[];
  /** The base of the registry's Confluent API: an address, or an address with credentials. */
  readonly registry:
    string | { readonly url: string; readonly username?: string; readonly password?: string };
  /** Readers of one group share the events: `neuros` gives the groups neuros-high, neuros-medium and neuros-normal. */
  readonly groupId: string;
  /** TOPIC_PREFIX of the deployment; it stands before the topics and before the groups. */
  readonly topicPrefix?: string;
  /** TLS: true, or the options of node:tls. */
  readonly ssl?: boolean | ConnectionOptions;
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512';
    readonly username: string;
    readonly password: string;
  };
  /** Handlers that may be at work at once, over all priorities; 8 by default, at least 3. */
  readonly concurrency?: number;
  /** How many of them are kept for each priority; 2, 1 and 1 of 8 by default. */
  readonly reserved?: Partial<Reserved>;
  /**
   * Where a group begins of which the brokers know no position: it is new, or was away for longer than
   * `offsets.retention.minutes`. `earliest`, the default, hands over all that the topics hold, which is 28 days; `latest` only
   * what comes from now on.
   */
  readonly startAt?: 'earliest' | 'latest';
  /** How many events of a partition may be done beyond the first that is not; 1,000 by default. */
  readonly maxAhead?: number;
  /** A registry of prom-client for the client's metrics; one of its own by default, where prom-client is installed. */
  readonly metrics?: MetricsRegistry;
  /** Default: warnings and errors go to standard error, as JSON lines. */
  readonly log?: NeurosLog;
}

/** What is used of a registry of prom-client. */
export interface MetricsRegistry {
  registerMetric(metric: never): void;
  metrics(): Promise<string>;
}

/** The options are not usable; `faults` names each. */
export class NeurosOptionsError extends Error {
  override readonly name = 'NeurosOptionsError';
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(`NeurosClient: ${faults.join('; ')}`);
    this.faults = faults;
  }
}

/** Every option of how handlers are called, with its default. */
export interface Handling extends NeurosHandlers {
  readonly announceStale: boolean;
  readonly handlerTimeoutMs: number;
  readonly retries: Required<Retries>;
}

/** Every option of a client, with its default. */
export interface Settings extends Handling {
  readonly brokers: readonly string[];
  readonly registry: { readonly url: string; readonly username?: string; readonly password?: string };
  readonly groupId: string;
  readonly topicPrefix: string;
  readonly concurrency: number;
  readonly reserved: Reserved;
  readonly startAt: 'earliest' | 'latest';
  readonly maxAhead: number;
}

const handlerNames = ['onEvent', 'onAlert', 'onWithdrawn', 'onErased'] as const;
const known = new Set([
  ...handlerNames,
  ...['alerts', 'announceStale', 'handlerTimeoutMs', 'retries', 'brokers', 'registry', 'groupId'],
  ...['topicPrefix', 'ssl', 'sasl', 'concurrency', 'reserved', 'startAt', 'maxAhead', 'metrics', 'log'],
]);

/**
 * The options of how handlers are called, checked.
 * @throws NeurosOptionsError.
 */
export function handlingOf(options: HandlingOptions): Handling {
  const faults = new Faults();
  if (!isObject(options)) throw new NeurosOptionsError([notAnObject]);
  const handling = readHandling(options, faults);
  faults.throwAny();
  return handling;
}

/**
 * The options of a client, checked: options come from JavaScript, too, which checks no types.
 * @throws NeurosOptionsError naming every fault.
 */
export function settingsOf(options: NeurosOptions): Settings {
  const faults = new Faults();
  if (!isObject(options)) throw new NeurosOptionsError([notAnObject]);
  const { brokers, groupId, topicPrefix = '' } = options;
  const areBrokers = Array.isArray(brokers) && brokers.length > 0 && brokers.every(isAddress);
  faults.unless(areBrokers, 'brokers must be a list of host:port, such as ["localhost:9092"]');
  faults.unless(isName(groupId) && groupId !== '', `groupId must be a name of ${nameCharacters}`);
  faults.unless(isName(topicPrefix), `topicPrefix must be a name of ${nameCharacters}`);
  faults.unless(
    readerDeadLetters('', groupId) !== topicNames('', []).deadLetters,
    `groupId must not be ${groupId}, whose dead-letter topic is the bridge's own`,
  );
  if (isName(groupId) && isName(topicPrefix))
    faults.unless(
      readerDeadLetters(topicPrefix, groupId).length <= longestTopic,
      `groupId must be shorter: its dead-letter topic would have a name of more than ${longestTopic} characters`,
    );
  const registry = typeof options.registry === 'string' ? { url: options.registry } : options.registry;
  faults.unless(
    isHttp(registry),
    'registry must be the http(s) address of the registry, or { url, username, password }',
  );
  if (isObject(options.registry)) faults.names('registry.', options.registry, registryNames);
  const { ssl, sasl, metrics, log } = options;
  faults.unless(
    ssl === undefined || typeof ssl === 'boolean' || isObject(ssl),
    'ssl must be true, or an object with the options of node:tls',
  );
  if (sasl !== undefined) faults.unless(isSasl(sasl), saslFault);
  faults.unless(
    metrics === undefined || hasFunctions(metrics, ['registerMetric', 'metrics']),
    'metrics must be a Registry of prom-client',
  );
  faults.unless(
    log === undefined || hasFunctions(log, ['debug', 'info', 'warn', 'error']),
    'log must have the functions debug, info, warn and error, each of (fields, message), as pino has',
  );
  const concurrency = faults.integer('concurrency', options.concurrency, {
    byDefault: 8,
    min: 3,
    max: 1_000,
  });
  const { reserved: given = {} } = options;
  if (isObject(given)) faults.names('reserved.', given, new Set(priorities));
  else faults.add('reserved must be an object, such as { HIGH: 2 }');
  const reserved = { ...reservedBy(concurrency), ...given };
  for (const priority of priorities)
    faults.unless(
      Number.isInteger(reserved[priority]) && reserved[priority] >= 1,
      `reserved.${priority} must be a whole number of at least 1, or nothing of that priority would ever be handled`,
    );
  const sum = priorities.reduce((total, priority) => total + reserved[priority], 0);
  faults.unless(sum <= concurrency, `reserved adds up to ${sum}, more than concurrency (${concurrency})`);
  const { startAt = 'earliest' } = options;
  faults.unless(['earliest', 'latest'].includes(startAt), 'startAt must be earliest or latest');
  const settings = {
    ...readHandling(options, faults),
    brokers,
    registry,
    groupId,
    topicPrefix,
    concurrency,
    reserved,
    startAt,
    maxAhead: faults.integer('maxAhead', options.maxAhead, { byDefault: 1_000, min: 1, max: 100_000 }),
  };
  faults.throwAny();
  return settings;
}

function readHandling(options: HandlingOptions, faults: Faults): Handling {
  const { alerts, announceStale = false } = options;
  // Also of the driver, which may be given those of a client.
  faults.names('', options, known);
  const retries = isObject(options.retries) ? options.retries : {};
  if (options.retries !== undefined) {
    faults.unless(isObject(options.retries), 'retries must be an object, such as { attempts: 5 }');
    faults.names('retries.', retries, retryNames);
  }
  for (const name of handlerNames)
    faults.unless(
      options[name] === undefined || typeof options[name] === 'function',
      `${name} must be a function`,
    );
  faults.unless(
    handlerNames.some((name) => typeof options[name] === 'function'),
    `give at least one handler: ${handlerNames.join(', ')}`,
  );
  faults.unless(
    alerts === undefined || hasFunctions(alerts, ['start', 'migrate', 'begin', 'erase', 'close']),
    'alerts must be transactional({ pool }), claims(store) or memory()',
  );
  faults.unless(typeof announceStale === 'boolean', 'announceStale must be true or false');
  const between = (name: string, value: number | undefined, byDefault: number): number =>
    faults.integer(name, value, { byDefault, min: 1, max: 86_400_000 });
  return {
    onEvent: options.onEvent,
    onAlert: options.onAlert,
    onWithdrawn: options.onWithdrawn,
    onErased: options.onErased,
    announceStale,
    handlerTimeoutMs: between('handlerTimeoutMs', options.handlerTimeoutMs, 30_000),
    retries: {
      attempts: between('retries.attempts', retries.attempts, 5),
      initialMs: between('retries.initialMs', retries.initialMs, 200),
      maxMs: between('retries.maxMs', retries.maxMs, 10_000),
    },
  };
}

/** Collects what is wrong, to report all of it at once. */
class Faults {
  readonly #all: string[] = [];

  add(fault: string): void {
    this.#all.push(fault);
  }

  /**
   * Adds the names that do nothing, because they are misspelt or of another version.
   * @param path - before the name of an option, such as `retries.`.
   */
  names(path: string, options: object, allowed: ReadonlySet<string>): void {
    for (const name of Object.keys(options))
      if (!allowed.has(name))
        this.add(
          `unknown option ${path}${name}: the options are ${[...allowed]
            .sort()
            .map((one) => `${path}${one}`)
            .join(', ')}`,
        );
  }

  unless(isRight: boolean, fault: string): void {
    if (!isRight) this.add(fault);
  }

  integer(
    name: string,
    value: number | undefined,
    { byDefault, min, max }: { readonly byDefault: number; readonly min: number; readonly max: number },
  ): number {
    if (value === undefined) return byDefault;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    this.add(`${name} must be a whole number from ${min} to ${max}`);
    return byDefault;
  }

  throwAny(): void {
    if (this.#all.length > 0) throw new NeurosOptionsError(this.#all);
  }
}

const notAnObject = 'the options must be an object';
const registryNames = new Set(['url', 'username', 'password']);
const retryNames = new Set(['attempts', 'initialMs', 'maxMs']);
/** Kafka's limit. */
const longestTopic = 249;
const nameCharacters = 'letters, digits, dots, underscores and dashes';
const saslFault =
  'sasl must be { mechanism, username, password } with the mechanism plain, scram-sha-256 or scram-sha-512';

function isName(value: unknown): boolean {
  return typeof value === 'string' && /^[a-zA-Z0-9._-]*$/.test(value);
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasFunctions(value: unknown, names: readonly string[]): boolean {
  if (!isObject(value)) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

function isAddress(value: unknown): boolean {
  const port = /^(?:[a-zA-Z0-9._-]+|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/.exec(
    typeof value === 'string' ? value : '',
  )?.[1];
  return port !== undefined && Number(port) >= 1 && Number(port) <= 65_535;
}

function isHttp(registry: unknown): boolean {
  if (!isObject(registry)) return false;
  const { url, username = '', password = '' } = registry as Record<string, unknown>;
  if (typeof username !== 'string' || typeof password !== 'string') return false;
  return typeof url === 'string' && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol);
}

function isSasl(sasl: unknown): boolean {
  if (!isObject(sasl)) return false;
  const { mechanism, username, password } = sasl as Record<string, unknown>;
  const mechanisms: readonly unknown[] = ['plain', 'scram-sha-256', 'scram-sha-512'];
  return mechanisms.includes(mechanism) && typeof username === 'string' && typeof password === 'string';
}
