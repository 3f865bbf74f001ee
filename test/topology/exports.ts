/** Exports of Health Auto Export, through the whole topology in the test driver. */
import { avroType } from '../../schemas/avro.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { createDecoder, createEncoder } from '../../schemas/codec.ts';
import { biometrics } from '../../topology/biometrics.ts';
import { errorHeader, TopologyTestDriver, writeOnly } from '../../streams/index.ts';
import { defaultRules } from '../../topology/triggers.ts';
import { topics } from './support.ts';
import { headerText } from '../../schemas/raw-record.ts';
import { topicSpecs } from '../../schemas/topics.ts';

const { decode, prepare } = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
await prepare(7);
const encode = createEncoder(7);

/** When the ingress of these tests takes everything. */
export const takenAt = Date.parse('2026-06-10T20:00:00Z');

/** A metric of an export with its points, `[date, qty, source]`. */
export function metric(
  name: string,
  units: string | undefined,
  ...points: readonly (readonly [date: string, qty: number, source?: string])[]
): object {
  return { name, units, data: points.map(([date, qty, source]) => ({ date, qty, source })) };
}

/** The body of an export. */
export function exportOf(...metrics: readonly unknown[]): object {
  return { data: { metrics, workouts: [] } };
}

/** One delivery to the raw topic. */
export interface Arrival {
  /** The raw record's key; `hk-user-7` by default. */
  readonly key?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  readonly at?: number;
}

/** The topology in the test driver, fed on the route of healthkit. */
export class ExportsDriver extends TopologyTestDriver {
  constructor() {
    const topology = biometrics({
      topics,
      rules: defaultRules,
      biometricEvent: writeOnly(encode),
      build: 'b',
    });
    super(topology, {
      nowMs: takenAt,
      deadLetterTopic: topics.deadLetters,
      topics: topicSpecs(topics),
    });
  }

  /** Sends a body and answers the events that come of it. */
  async send(
    body: unknown,
    { key = 'hk-user-7', headers, at = takenAt }: Arrival = {},
  ): Promise<BiometricEvent[]> {
    this.nowMs = Math.max(this.nowMs, at);
    const all = headers ?? { scheme: 'bearer', received_at: String(at) };
    const [offset] = this.append({
      topic: topics.raw.healthkit,
      key: key === null ? null : Buffer.from(key),
      value: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
      timestamp: at,
      headers: Object.fromEntries(Object.entries(all).map(([name, text]) => [name, Buffer.from(text)])),
    });
    await this.process();
    return this.events().filter(({ raw }) => raw.offset === Number(offset));
  }

  /** Every event so far: by topic, and in each in order. What an export makes has no triggers and is in one topic. */
  events(): BiometricEvent[] {
    return Object.values(topics.priority).flatMap((topic) =>
      this.output(topic).map(({ value }) => decode(value!)),
    );
  }

  /** Every dead letter so far as `CODE: message`. */
  deadLetters(): string[] {
    return this.output(topics.deadLetters).map(
      ({ headers }) =>
        `${headerText(headers, errorHeader.exception)}: ${headerText(headers, errorHeader.message)}`,
    );
  }
}
