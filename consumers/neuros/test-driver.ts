/** NeurosTestDriver: calls handlers as NeurosClient does, without a broker, a registry or a clock. */
import { priorityTopics } from '../../schemas/topics.ts';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent, type Priority } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import type { Alerts } from './alerts/alerts.ts';
import { memory } from './alerts/memory.ts';
import { Delivery, type DeliveryParts, type SetAside } from './delivery.ts';
import { handlingOf, type Handling, type HandlingOptions } from './options.ts';

/** A record that the handlers could not be given, or that one of them failed for too often. */
export interface DriverDeadLetter extends SetAside {
  readonly priority: Priority;
  readonly offset: bigint;
}

/** Options of the driver: the handlers, and how they are called. */
export type DriverOptions = HandlingOptions;

/** Attempts of one record before the driver takes it for one that never ends. */
const maxAttempts = 1_000;

/**
 * Gives events to the handlers in the order in which pipe() is called, each to its end, with the retries of the client but
 * without their pauses. The alerts are remembered in memory unless `alerts` says otherwise.
 */
export class NeurosTestDriver {
  readonly #parts: DeliveryParts;
  readonly #encode = createEncoder(1);
  readonly #deadLetters: DriverDeadLetter[] = [];
  /** What pipe() and erase() reject with once they are done. */
  readonly #failures: Error[] = [];
  /** The servers that a delivery has waited for. */
  readonly #outages: string[] = [];
  #started: Promise<void> | undefined;
  #offset = 0n;

  /** @throws NeurosOptionsError */
  constructor(options: DriverOptions) {
    const handling: Handling = handlingOf(options);
    const alerts: Alerts = options.alerts ?? memory();
    const none = (): void => undefined;
    this.#parts = {
      handling,
      alerts,
      // Through the codec, so that a test fails for an event that the contract does not allow.
      decoder: createDecoder(() => Promise.resolve(avroType(biometricEventAvsc))),
      deadLetters: {
        append: (record, setAside) => {
          const priority = priorityOf(record.topic);
          this.#deadLetters.push({ ...setAside, priority, offset: record.offset });
          return Promise.resolve();
        },
      },
      observer: {
        called: none,
        handedOver: none,
        alert: none,
        failed: none,
        setAside: (_record, { handler, attempts }, cause) => {
          const times = `${attempts} time${attempts === 1 ? '' : 's'}`;
          if (handler !== undefined)
            this.#failures.push(new Error(`NeurosTestDriver: ${handler} failed ${times}`, { cause }));
        },
        outage: (what, code) => void this.#outages.push(`${what} does not answer (${code})`),
      },
      stop: new AbortController().signal,
    };
  }

  /** What has gone to the dead letters so far, in order. */
  get deadLetters(): readonly DriverDeadLetter[] {
    return this.#deadLetters;
  }

  /**
   * Hands events over, one after the other; settles once the handlers are done with the last.
   * @throws EncodeError when an event is not as the contract requires; Error when a handler failed in every attempt, with
   *   what it threw as its cause, and when the alert store does not answer.
   */
  async pipe(...events: readonly BiometricEvent[]): Promise<void> {
    for (const event of events) await this.#deliver(event.priority, event.user_id, this.#encode(event));
    this.#throwFailure();
  }

  /** Erases a user: calls `onErased` as for a record without a value. */
  async erase(userId: string, priority: Priority = 'NORMAL'): Promise<void> {
    await this.#deliver(priority, userId, null);
    this.#throwFailure();
  }

  #throwFailure(): void {
    const [failure] = this.#failures.splice(0);
    if (failure !== undefined) throw failure;
  }

  async #deliver(priority: Priority, key: string, value: Buffer | null): Promise<void> {
    await (this.#started ??= this.#parts.alerts.start('test-driver'));
    const record: LogRecord = {
      topic: priorityTopics('')[priority],
      partition: 0,
      offset: this.#offset,
      timestamp: 0,
      key: Buffer.from(key, 'utf8'),
      value,
      headers: {},
    };
    this.#offset += 1n;
    const delivery = new Delivery(this.#parts, record, priority);
    for (let attempts = 0; attempts < maxAttempts; attempts += 1) {
      if ((await delivery.attempt()) === undefined) return;
      const [outage] = this.#outages.splice(0);
      if (outage !== undefined) throw new Error(`NeurosTestDriver: ${outage}`);
    }
    throw new Error(
      `NeurosTestDriver: the record at offset ${record.offset} is not done after ${maxAttempts} attempts`,
    );
  }
}

function priorityOf(topic: string): Priority {
  const topics = Object.entries(priorityTopics('')) as [Priority, string][];
  return topics.find(([, name]) => name === topic)?.[0] ?? 'NORMAL';
}
