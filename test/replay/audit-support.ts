/** One partition of the topology without a broker: raw records, what it makes of them, and as what that stands in the log. */
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';
import { createDecoder, type Decoder } from '../../schemas/codec.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import { topicSpecs } from '../../schemas/topics.ts';
import { Recomputation, type InputRecord, type OutputRecord, type Recomputed } from '../../streams/index.ts';
import { deployedBuild, deployedTopology } from '../../topology/instance.ts';
import { defaultRules } from '../../topology/triggers.ts';
import type { VendorName } from '../../vendors/index.ts';
import type { Evidence, Surroundings } from '../../replay/audit-judge.ts';
import type { Published } from '../../replay/published.ts';
import { receivedAt, topics } from '../topology/support.ts';

const schemaIds = { HIGH: 1, MEDIUM: 1, NORMAL: 1 };
export const partition = 0;
export const build = deployedBuild({ rules: defaultRules, schemaIds });

/** A reading of the simple format. */
export function reading(changes: object = {}): object {
  return { user_id: 'u', timestamp: '2025-07-30T12:00:00Z', hrv_data: { rmssd: 50 }, ...changes };
}

/** The whole topology of this build over the records of one partition, which are given in order. */
export class OnePartition {
  readonly decoder: Decoder;
  readonly #vendor: VendorName;
  readonly #recomputation: Recomputation;
  #offset = 0n;

  private constructor(vendor: VendorName, decoder: Decoder) {
    this.#vendor = vendor;
    this.decoder = decoder;
    this.#recomputation = new Recomputation(
      deployedTopology(topics, { rules: defaultRules, schemaIds }),
      partition,
      { deadLetterTopic: topics.deadLetters, topics: topicSpecs(topics) },
    );
  }

  static async open(vendor: VendorName = 'oura'): Promise<OnePartition> {
    const decoder = createDecoder(() => Promise.resolve(avroType(biometricEventAvsc)));
    await decoder.prepare(1);
    return new OnePartition(vendor, decoder);
  }

  /** The next raw record, as the ingress, or with `headers` another, writes it. */
  record(body: object | string, headers: Readonly<Record<string, string>> = {}): InputRecord {
    const at = headers[rawHeader.receivedAt] ?? String(receivedAt + Number(this.#offset));
    const all = { [rawHeader.receivedAt]: at, [rawHeader.scheme]: 'plain', ...headers };
    this.#offset += 1n;
    return {
      topic: topics.raw[this.#vendor],
      partition,
      offset: this.#offset - 1n,
      timestamp: Number(at),
      key: Buffer.from('u'),
      value: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
      headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
    };
  }

  /** What this build makes of the next raw record, and the outputs as they stand in the log when nothing goes wrong. */
  process(record: InputRecord): Evidence & { readonly recomputed: Recomputed } {
    const recomputed = this.#recomputation.process(record);
    return { record, recomputed, published: recomputed.outputs.map((one) => asPublished(one, record)) };
  }

  /** What is known besides; by default nothing that raises a doubt. */
  surroundings(changes: Partial<Surroundings> = {}): Surroundings {
    return {
      vendor: this.#vendor,
      topics,
      build,
      start: { offset: 0n, epochMs: 0 },
      decode: (value) => this.decoder.decode(value),
      mayBeDeleted: false,
      isUncertain: false,
      isUnsure: () => undefined,
      isUnsureUser: () => false,
      ...changes,
    };
  }

  event({ record }: Published): BiometricEvent {
    return this.decoder.decode(record.value ?? Buffer.alloc(0));
  }
}

let offsets = 1_000n;

/** An output as a reader finds it. */
export function asPublished(
  output: OutputRecord,
  { offset: rawOffset }: Pick<InputRecord, 'offset'>,
  changes: Partial<Published> = {},
): Published {
  offsets += 1n;
  const { topic } = output;
  const headers = Object.entries(output.headers).map(([name, value]) => [
    name,
    typeof value === 'string' ? Buffer.from(value) : value,
  ]);
  const record = {
    ...output,
    offset: offsets,
    headers: Object.fromEntries(headers) as InputRecord['headers'],
  };
  return {
    topic,
    partition,
    offset: offsets,
    record,
    rawOffset,
    generation: 0,
    correction: undefined,
    ...changes,
  };
}

/** The output with other headers. */
export function withHeaders(one: Published, headers: Readonly<Record<string, string>>): Published {
  const more = Object.entries(headers).map(([name, value]) => [name, Buffer.from(value)]);
  return {
    ...one,
    record: { ...one.record, headers: { ...one.record.headers, ...(Object.fromEntries(more) as object) } },
  };
}
