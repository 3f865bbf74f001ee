import type { Logger } from '../process/log.ts';
import { kafkaConnection } from '../process/config.ts';
import type { Decoder } from '../schemas/codec.ts';
import { topicNames } from '../schemas/topics.ts';
import type { Stall } from '../kafka/progress.ts';
import type { KafkaStreams, StreamsMetrics, StreamsOptions } from '../streams/index.ts';
import { vendorNames } from '../vendors/index.ts';
import { applicationIdOf } from './changelogs.ts';
import type { ControlWatch } from './control.ts';
import { LaterGeneration, shadowTopic } from './generation.ts';
import type { GenerationEnd, Origin } from './generation-state.ts';
import { ProcessSupport } from './generation-support.ts';
import { biometricStreams, deployedBuild, eventSerde, type InstanceSettings } from './instance.ts';

interface ProcessOptions {
  readonly settings: InstanceSettings;
  /** Begin without any state. */
  readonly isUnseeded: boolean;
  /** Begin with the state of this generation, to go back to it. */
  readonly from: number | undefined;
  readonly decoder: Decoder;
  /** Undefined where nothing can be promoted. */
  readonly control: ControlWatch | undefined;
  readonly log: Logger;
  readonly metrics: StreamsMetrics;
  readonly options?: Partial<StreamsOptions>;
  readonly onFailed: (error: unknown) => void;
}

/**
 * Runs the topology of one generation while that is live or a candidate. When another becomes live, it drains, leaves the
 * group and stays idle, so that nothing restarts it. If that promotion is given up, it runs again.
 */
export class GenerationProcess {
  readonly #options: ProcessOptions;
  #streams: KafkaStreams | undefined;
  #support: ProcessSupport | undefined;
  #isRetired = false;
  #isClosed = false;
  /** Starts and stops, one after the other. */
  #changes: Promise<void> = Promise.resolve();

  constructor(options: ProcessOptions) {
    this.#options = options;
  }

  /** Starts what should run now. Rejects when that cannot start. */
  async start(): Promise<void> {
    const { control, onFailed } = this.#options;
    control?.onChange(() => void this.#follow().catch(onFailed));
    await this.#follow();
  }

  /** What is stuck; nothing while idle. */
  stalls(): Stall[] {
    return this.#streams?.stalls() ?? [];
  }

  /** `ok`, or why the process does not process. */
  readiness(): string {
    if (this.#isRetired) return `retired: generation ${this.#successor} is live or about to be`;
    const state = this.#streams?.state ?? 'CREATED';
    return state === 'RUNNING' ? 'ok' : `state ${state}`;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    // A start under way must end first, or what it opens would stay open.
    await this.#changes.catch(() => undefined);
    await this.#stop();
  }

  get #number(): number {
    return this.#options.settings.config.GENERATION;
  }

  get #successor(): number {
    const { live = 0, closing } = this.#options.control?.state ?? {};
    return closing ?? live;
  }

  /** Whether the control topic says that another generation publishes, or is about to. */
  get #isOver(): boolean {
    const state = this.#options.control?.state;
    if (state === undefined) return false;
    return this.#number < state.live || (this.#number === state.live && state.closing !== undefined);
  }

  #follow(): Promise<void> {
    this.#changes = this.#changes.then(async () => {
      if (this.#isClosed) return;
      const isOver = this.#isOver;
      if (isOver && !this.#isRetired) {
        this.#isRetired = true;
        this.#options.log.info(
          { generation: this.#number, successor: this.#successor },
          'retired: another generation is live or about to be; idle until it is given up',
        );
        await this.#stop();
      } else if (!isOver && this.#streams === undefined) {
        this.#isRetired = false;
        await this.#run();
      }
    });
    return this.#changes;
  }

  async #run(): Promise<void> {
    const { settings, control, options, ...parts } = this.#options;
    if (this.#number > 0 && control !== undefined) this.#support = await this.#openSupport(control);
    const streams = biometricStreams(settings, {
      ...parts,
      ...(options === undefined ? {} : { options }),
      ...(this.#support === undefined ? {} : { support: this.#support }),
      ...(control === undefined
        ? {}
        : {
            onJoined: async () => {
              await control.refresh();
              // Ends the loop that awaits this, before it begins a transaction.
              if (this.#isOver) void streams.close();
            },
          }),
    });
    this.#streams = streams;
    streams.failed.catch((error: unknown) => this.#options.onFailed(error));
    await streams.start();
  }

  async #openSupport(control: ControlWatch): Promise<ProcessSupport> {
    const { settings, decoder, log } = this.#options;
    const { config, schemaIds } = settings;
    const applicationId = applicationIdOf(config);
    const number = this.#number;
    return ProcessSupport.open({
      connection: kafkaConnection(config),
      control,
      generation: new LaterGeneration(number, shadowTopic(applicationId, number), () =>
        control.state.promotions.get(number),
      ),
      applicationId,
      topics: topicNames(config.TOPIC_PREFIX, vendorNames),
      partitions: config.TOPIC_PARTITIONS,
      biometricEvent: eventSerde(schemaIds),
      decoder,
      build: deployedBuild(settings),
      origin: this.#origin(control),
      log,
    });
  }

  #origin(control: ControlWatch): Origin {
    const { isUnseeded, from } = this.#options;
    if (from === undefined) return isUnseeded ? 'nothing' : 'live';
    // Only asked of a task that has not begun: later the generation may be discarded.
    const end: GenerationEnd = (topic, partition) => {
      const successor = control.state.promotions.get(from + 1);
      if (successor === undefined || control.state.discarded.has(from))
        throw new Error(
          `--from ${from}: generation ${from} is discarded, or was never replaced by another: start the candidate without --from, so that it computes history again`,
        );
      return BigInt(successor.cut[`${topic}-${partition}`] ?? 0);
    };
    return { generation: from, end };
  }

  async #stop(): Promise<void> {
    await this.#streams?.close();
    await this.#support?.close();
    this.#streams = undefined;
    this.#support = undefined;
  }
}
