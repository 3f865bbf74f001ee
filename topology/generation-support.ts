import { kafkaClient, type Admin, type KafkaConnection } from '../kafka/client.ts';
import { LogScanner } from '../kafka/scan.ts';
import { partitionName } from '../kafka/topic-partition.ts';
import type { BiometricEvent } from '../schemas/biometric-event.ts';
import type { Decoder } from '../schemas/codec.ts';
import type { TopicNames } from '../schemas/topics.ts';
import type { Serde, StreamsLog } from '../streams/index.ts';
import { vendorNames, type VendorName } from '../vendors/index.ts';
import type { ControlWatch } from './control.ts';
import { generationId, type LaterGeneration } from './generation.ts';
import type { GenerationSupport, Origin } from './generation-state.ts';
import { committedOffsets, startsIn } from './history.ts';
import type { Starts } from './start.ts';
import { Turns } from './turns.ts';

/** How often the live group is asked for its offsets: a candidate is at most this far behind them. */
const askEveryMs = 500;

interface SupportOptions {
  readonly connection: KafkaConnection;
  readonly control: ControlWatch;
  readonly generation: LaterGeneration;
  /** Of generation 0. */
  readonly applicationId: string;
  readonly topics: TopicNames<VendorName>;
  readonly partitions: number;
  readonly biometricEvent: Serde<BiometricEvent>;
  readonly decoder: Decoder;
  readonly build: string;
  readonly origin: Origin;
  readonly log: StreamsLog;
}

/** What the tasks of a process of a generation above 0 share. It has its own connections. */
export class ProcessSupport implements GenerationSupport {
  readonly admin: Admin;
  readonly scanner: LogScanner;
  readonly generation: LaterGeneration;
  readonly applicationId: string;
  readonly topics: TopicNames<VendorName>;
  readonly biometricEvent: Serde<BiometricEvent>;
  readonly decoder: Decoder;
  readonly build: string;
  readonly origin: Origin;
  readonly log: StreamsLog;
  readonly turns = new Turns();
  readAt = performance.now();
  readonly #partitions: number;
  readonly #wakes = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #offsets: ReadonlyMap<string, bigint> = new Map();
  #asking: Promise<void> | undefined;

  private constructor(options: SupportOptions, admin: Admin) {
    const { connection, control, log, applicationId, generation } = options;
    this.admin = admin;
    this.scanner = new LogScanner(connection, {
      clientId: `${generationId(applicationId, generation.number)}-history`,
      log,
    });
    this.generation = generation;
    this.applicationId = applicationId;
    this.topics = options.topics;
    this.biometricEvent = options.biometricEvent;
    this.decoder = options.decoder;
    this.build = options.build;
    this.origin = options.origin;
    this.log = log;
    this.#partitions = options.partitions;
    control.onChange(() => this.#wake());
    this.#timer = setInterval(() => void (this.#asking ??= this.#ask()), askEveryMs);
    void (this.#asking = this.#ask());
  }

  static async open(options: SupportOptions): Promise<ProcessSupport> {
    const { connection, log, applicationId, generation } = options;
    const clientId = `${generationId(applicationId, generation.number)}-live-offsets`;
    const admin = kafkaClient(connection, { clientId, log }).admin();
    await admin.connect();
    return new ProcessSupport(options, admin);
  }

  onRead(): void {
    this.readAt = performance.now();
  }

  liveOffset(topic: string, partition: number): bigint | undefined {
    return this.#offsets.get(partitionName({ topic, partition }));
  }

  async starts(partition: number): Promise<Starts> {
    const starts = await Promise.all(
      vendorNames.map((vendor) => startsIn(this, this.topics.raw[vendor], { partitions: this.#partitions })),
    );
    return new Map(
      vendorNames.flatMap((vendor, at) => {
        const start = starts[at]?.[partition];
        return start === undefined ? [] : [[vendor, start] as const];
      }),
    );
  }

  subscribe(wake: () => void): () => void {
    this.#wakes.add(wake);
    return () => void this.#wakes.delete(wake);
  }

  async close(): Promise<void> {
    this.turns.close();
    clearInterval(this.#timer);
    await Promise.all([this.scanner.close(), this.#asking]);
    await this.admin.disconnect();
  }

  #wake(): void {
    for (const wake of this.#wakes) wake();
  }

  /** A failure leaves the bounds as they are, so that nothing is processed that the live group may not have processed. */
  async #ask(): Promise<void> {
    try {
      if (this.generation.promotion !== undefined) return;
      const groupId = generationId(this.applicationId, this.generation.number - 1);
      this.#offsets = await committedOffsets(this.admin, groupId, Object.values(this.topics.raw));
      this.#wake();
    } catch (error) {
      this.log.warn(
        { reason: error instanceof Error ? error.name : 'unknown' },
        'the offsets of the live group cannot be read: waiting',
      );
    } finally {
      this.#asking = undefined;
    }
  }
}
