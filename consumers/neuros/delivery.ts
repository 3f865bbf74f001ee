/** What happens to one record: it is decoded, its handlers are called, each again while it fails, or it is set aside. */
import type { LogRecord } from '../../kafka/record-batch.ts';
import type { BiometricEvent, Priority } from '../../schemas/biometric-event.ts';
import { DecodeError, UnknownSchemaId, type Decoder } from '../../schemas/codec.ts';
import { headerText } from '../../schemas/raw-record.ts';
import { RegistryError } from '../../schemas/registry.ts';
import {
  AlertsBusy,
  AlertStoreUnavailable,
  type Alerts,
  type AlertAttempt,
  type AlertStep,
} from './alerts/alerts.ts';
import { callHandler } from './alerts/attempt.ts';
import type { Handling, RecordContext } from './options.ts';

/** The handlers, by the name that log, metrics and dead letters give them. */
export type HandlerName = 'onEvent' | 'onAlert' | 'onWithdrawn' | 'onErased';

/** Why a record was set aside. */
export interface SetAside {
  /** `handler_failed`, or why it is not an event: `corrupt`, `unknown_schema` and the like. */
  readonly reason: string;
  readonly handler?: HandlerName;
  /** The class of the last error; its message may quote the event, so it is not kept. */
  readonly error?: string;
  /** Its `code`, as Node.js and databases give one, and where in the handler's code it was thrown: for the log. */
  readonly code?: string;
  readonly at?: string;
  readonly attempts?: number;
}

/** What is told of a delivery to log and metrics. */
export interface DeliveryObserver {
  /** A call has ended. */
  called(handler: HandlerName, priority: Priority, ms: number, isFailed: boolean): void;
  /** A call is about to begin, for the first time for its record. */
  handedOver(event: BiometricEvent, priority: Priority): void;
  alert(result: 'announced' | 'withdrawn'): void;
  /** A handler has failed, and is called again. */
  failed(record: LogRecord, setAside: SetAside): void;
  /** @param cause - what the handler threw last; it may quote the event, so it is for tests only. */
  setAside(record: LogRecord, setAside: SetAside, cause?: unknown): void;
  /** A server that a delivery needs does not answer. Told again with each attempt. */
  outage(what: string, code: string): void;
}

/** What deliveries share. */
export interface DeliveryParts {
  readonly handling: Handling;
  readonly alerts: Alerts;
  readonly decoder: Decoder;
  /** Stores a record that is set aside; rejects when it cannot be stored now. */
  readonly deadLetters: { append(record: LogRecord, setAside: SetAside): Promise<void> };
  readonly observer: DeliveryObserver;
  /** Aborted when close() waits no longer. */
  readonly stop: AbortSignal;
}

/** A record cannot be set aside now. */
export class DeadLettersUnavailable extends Error {
  override readonly name = 'DeadLettersUnavailable';
  readonly code: string;
  constructor(code: string, options?: ErrorOptions) {
    super(`the dead-letter topic takes no record (${code})`, options);
    this.code = code;
  }
}

/** A handler has not ended within handlerTimeoutMs. */
export class HandlerTimeoutError extends Error {
  override readonly name = 'HandlerTimeoutError';
}

/** Pauses before a server is asked again that does not answer, or an alert that another reader is at. */
const waitMs = { initial: 100, busy: 500, max: 2_000 } as const;

/** One thing to do with a record. A step that fails is repeated, those before it are not. */
interface Step {
  readonly handler?: HandlerName;
  run(attempt: number): Promise<'busy' | undefined>;
}

/** The record is not an event and never will be. */
class Unreadable extends Error {
  readonly reason: string;
  constructor(reason: string) {
    super(reason);
    this.reason = reason;
  }
}

/** One record on its way through the handlers. */
export class Delivery {
  readonly #parts: DeliveryParts;
  readonly #record: LogRecord;
  readonly #priority: Priority;
  readonly #isOurs: () => boolean;
  #steps: Step[];
  #event: BiometricEvent | undefined;
  /** The steps of its alerts; undefined before they are asked for. */
  #alertSteps: AlertStep[] | undefined;
  /** Of the first step: calls that have failed, and waits for something else. */
  #failures = 0;
  #waits = 0;
  #headers: Readonly<Record<string, string>> | undefined;
  /** What a handler threw last: of whatever class it is, no server of ours is away. */
  #thrown: unknown;

  /** @param isOurs - whether the record's partition still is; another reader does what is left of it otherwise. */
  constructor(
    parts: DeliveryParts,
    record: LogRecord,
    priority: Priority,
    isOurs: () => boolean = () => true,
  ) {
    this.#parts = parts;
    this.#record = record;
    this.#priority = priority;
    this.#isOurs = isOurs;
    this.#steps = [{ run: () => this.#read() }];
  }

  /**
   * Does what is left to do, until something fails.
   * @returns the pause before the next attempt in ms; undefined when the record is done with. Never rejects because of a
   *   handler, a record or a server.
   */
  async attempt(): Promise<number | undefined> {
    for (let step = this.#steps[0]; step !== undefined; step = this.#steps[0]) {
      if (!this.#isOurs()) return undefined;
      // Nothing new begins once close() waits no longer. Nothing is committed, so it comes again.
      if (this.#parts.stop.aborted) return waitMs.max;
      try {
        if ((await step.run(this.#failures + 1)) === 'busy') return this.#wait(waitMs.busy);
      } catch (error) {
        const pauseMs = this.#afterError(step, error);
        if (pauseMs !== undefined) return pauseMs;
        continue;
      }
      this.#steps.shift();
      this.#failures = 0;
      this.#waits = 0;
    }
    return undefined;
  }

  /** @returns the pause, or undefined when the record is set aside instead. */
  #afterError(step: Step, error: unknown): number | undefined {
    const { observer, handling } = this.#parts;
    if (error instanceof Unreadable) {
      this.#setAside({ reason: error.reason });
      return undefined;
    }
    const isThrown = error === this.#thrown;
    if (!isThrown && error instanceof AlertsBusy) return this.#wait(waitMs.busy);
    const outage = isThrown ? undefined : outageOf(error);
    if (outage !== undefined) {
      observer.outage(...outage);
      return this.#wait();
    }
    // A bug of ours, not of a handler: it must not look like one.
    if (step.handler === undefined) throw error;
    // What close() has cut short is no fault of the handler; nothing is committed, so it comes again.
    if (this.#parts.stop.aborted) return waitMs.max;
    this.#failures += 1;
    const { handler } = step;
    const fault = {
      reason: 'handler_failed',
      handler,
      ...described(error),
      attempts: this.#failures,
    };
    if (this.#failures >= handling.retries.attempts) {
      this.#setAside(fault, error);
      return undefined;
    }
    observer.failed(this.#record, fault);
    const { initialMs, maxMs } = handling.retries;
    return Math.min(initialMs * 2 ** (this.#failures - 1), maxMs);
  }

  #wait(longestMs: number = waitMs.max): number {
    this.#waits += 1;
    return Math.min(waitMs.initial * 2 ** (this.#waits - 1), longestMs);
  }

  /** The rest of the steps is given up for two: the alerts are released, then the record goes to the dead letters. */
  #setAside(fault: SetAside, cause?: unknown): void {
    const { deadLetters, observer } = this.#parts;
    this.#failures = 0;
    this.#waits = 0;
    this.#steps = [
      { run: () => this.#giveUpAlerts() },
      {
        run: async () => {
          await deadLetters.append(this.#record, fault);
          observer.setAside(this.#record, fault, cause);
          return undefined;
        },
      },
    ];
  }

  // Alerts that this record has not announced are open for their repetition.
  async #giveUpAlerts(): Promise<undefined> {
    const event = this.#event;
    if (event === undefined || !this.#handlesAlerts) return;
    this.#alertSteps ??= await this.#begin(event);
    while (this.#alertSteps[0] !== undefined) {
      await this.#alertSteps[0].giveUp();
      this.#alertSteps.shift();
    }
  }

  async #read(): Promise<undefined> {
    const { fault, key, value } = this.#record;
    const { handling } = this.#parts;
    if (fault !== undefined) throw new Unreadable(fault.code.toLowerCase());
    if (value === null) {
      if (key === null) throw new Unreadable('no_key');
      this.#addErasure(key.toString('utf8'));
      return;
    }
    const event = await this.#decode(value);
    this.#event = event;
    const { onEvent } = handling;
    if (onEvent !== undefined) this.#addCall('onEvent', (context) => onEvent(event, context));
    if (this.#handlesAlerts) {
      this.#steps.push({
        run: async () => {
          this.#alertSteps = await this.#begin(event);
          for (const step of [...this.#alertSteps]) this.#steps.push(this.#alertStep(event, step));
          return undefined;
        },
      });
    }
    if (onEvent !== undefined || this.#handlesAlerts) this.#parts.observer.handedOver(event, this.#priority);
  }

  get #handlesAlerts(): boolean {
    const { onAlert, onWithdrawn } = this.#parts.handling;
    return onAlert !== undefined || onWithdrawn !== undefined;
  }

  #begin(event: BiometricEvent): Promise<AlertStep[]> {
    const announce = this.#parts.handling.announceStale || !event.flags.includes('stale');
    return this.#parts.alerts.begin(event, { announce });
  }

  async #decode(value: Buffer): Promise<BiometricEvent> {
    const { decoder } = this.#parts;
    for (;;) {
      try {
        return decoder.decode(value);
      } catch (error) {
        if (error instanceof DecodeError) throw new Unreadable(error.code);
        if (!(error instanceof UnknownSchemaId)) throw error;
        try {
          await decoder.prepare(error.id);
        } catch (missing) {
          if (missing instanceof RegistryError && missing.code === 'not_found')
            throw new Unreadable('unknown_schema');
          throw missing;
        }
      }
    }
  }

  #addErasure(user: string): void {
    const { handling, alerts } = this.#parts;
    const { onErased } = handling;
    // First, since a handler that fails for good ends the record's steps.
    this.#steps.push({
      run: async () => {
        await alerts.erase(user);
        return undefined;
      },
    });
    if (onErased !== undefined) this.#addCall('onErased', (context) => onErased({ user_id: user }, context));
  }

  #addCall(handler: HandlerName, call: (context: RecordContext) => unknown): void {
    this.#steps.push({
      handler,
      run: async (attempt) => {
        await this.#call(handler, attempt, call);
        return undefined;
      },
    });
  }

  #alertStep(event: BiometricEvent, step: AlertStep): Step {
    const { handling, observer } = this.#parts;
    const isNew = step.kind === 'announce';
    const handler = isNew ? 'onAlert' : 'onWithdrawn';
    const call = handling[handler];
    return {
      handler,
      run: async (attempt) => {
        const controller = new AbortController();
        const hand = (alertAttempt: AlertAttempt): Promise<void> =>
          this.#call(
            handler,
            attempt,
            (context) => call?.(step.alert, { ...context, ...alertAttempt, event }),
            controller,
          );
        const outcome = await step.run(hand, controller.signal);
        if (outcome === 'busy') return 'busy';
        this.#alertSteps?.shift();
        if (outcome === 'done') observer.alert(isNew ? 'announced' : 'withdrawn');
        return undefined;
      },
    };
  }

  async #call(
    handler: HandlerName,
    attempt: number,
    call: (context: RecordContext) => unknown,
    controller = new AbortController(),
  ): Promise<void> {
    const { handling, observer, stop } = this.#parts;
    const { topic, partition, offset } = this.#record;
    const context: RecordContext = {
      priority: this.#priority,
      ...{ topic, partition, offset, attempt },
      headers: this.#textHeaders(),
      signal: controller.signal,
    };
    const startedAt = performance.now();
    let isFailed = true;
    const { handlerTimeoutMs } = handling;
    const timer = setTimeout(
      () => controller.abort(new HandlerTimeoutError(`${handler} took longer than ${handlerTimeoutMs} ms`)),
      handlerTimeoutMs,
    );
    const onStop = (): void =>
      controller.abort(new Error(`the client was closed while ${handler} was at work`));
    stop.addEventListener('abort', onStop, { once: true });
    try {
      await callHandler(() => call(context), controller.signal);
      isFailed = false;
    } catch (error) {
      this.#thrown = error;
      throw error;
    } finally {
      clearTimeout(timer);
      stop.removeEventListener('abort', onStop);
      observer.called(handler, this.#priority, performance.now() - startedAt, isFailed);
    }
  }

  #textHeaders(): Readonly<Record<string, string>> {
    if (this.#headers === undefined) {
      const { headers } = this.#record;
      this.#headers = Object.fromEntries(
        Object.keys(headers).flatMap((name) => {
          const text = headerText(headers, name);
          return text === undefined ? [] : [[name, text]];
        }),
      );
    }
    return this.#headers;
  }
}

/** What can be said of a handler's error, which may be anything, without its message, which may quote the event. */
function described(error: unknown): Pick<SetAside, 'error' | 'code' | 'at'> {
  try {
    if (!(error instanceof Error)) return { error: typeof error };
    const name: unknown = error.name;
    const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
    const frames = String(error.stack)
      .split('\n')
      .filter((line) => /^ {4}at .*:\d+:\d+\)?$/.test(line));
    const at = frames.find((line) => !/node:|node_modules/.test(line)) ?? frames[0];
    return {
      error: String(name),
      ...(code !== undefined && /^[A-Z0-9_]{1,40}$/.test(code) ? { code } : {}),
      ...(at === undefined ? {} : { at: at.trim() }),
    };
  } catch {
    // Its name is a getter that throws.
    return { error: typeof error };
  }
}

/** The server that does not answer, and the code for the log; undefined for any other error. */
function outageOf(error: unknown): [what: string, code: string] | undefined {
  if (error instanceof AlertStoreUnavailable) return ['the alert store', error.code];
  if (error instanceof RegistryError) return ['the schema registry', error.code];
  if (error instanceof DeadLettersUnavailable) return ['the dead-letter topic', error.code];
  return undefined;
}
