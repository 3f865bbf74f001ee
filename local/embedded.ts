import { setTimeout as sleep } from 'node:timers/promises';
import { broker, liveBrokers } from './broker.ts';
import { StackError } from './errors.ts';
import { fetchSoftware } from './maven.ts';
import type { Part } from './part.ts';
import { postgres, postgresUrl } from './postgres.ts';
import { findPostgresHome } from './postgres-home.ts';
import { redis, redisUrl } from './redis.ts';
import { registry, registryUrl } from './registry.ts';
import type { StackState } from './state.ts';

/** The parts of a stack, each of which can be stopped and started again on its own ports. */
export interface Parts {
  readonly kafka: { readonly brokers: readonly Part[] };
  readonly registry: Part;
  readonly postgres: Part;
  readonly redis: Part | null;
}

/** The stack as processes of this machine, which any process can start, look at and stop. */
export interface Embedded extends Parts {
  /** The same parts, in the order in which they stop. */
  readonly all: readonly Part[];
  /**
   * Starts what is not running and resolves once everything is healthy.
   * @returns false when everything was up already.
   */
  start(): Promise<boolean>;
  /** Stops everything in order, and skips what is not running. */
  stop(): Promise<void>;
  /** The addresses of the parts, as environment variables. */
  addresses(): Promise<Record<string, string>>;
}

/** The stack that `state` describes; nothing is started yet. */
export function embedded(
  state: StackState,
  options: {
    readonly directory: string;
    readonly env: NodeJS.ProcessEnv;
    readonly durable: boolean;
    readonly onProgress: (line: string) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Embedded {
  const { directory, env, durable, onProgress } = options;
  const { ports } = state;
  // One part that cannot start ends the start of the others.
  const failed = new AbortController();
  const signal =
    options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  // Several parts ask for it at once: it is fetched once.
  const software = once(() => fetchSoftware({ env, onProgress, signal }));
  const home = once(() => findPostgresHome(directory));
  const common = { directory, ports, onProgress, signal };
  const brokers = ports.kafka.map((_, index) =>
    broker({ ...common, clusterId: state.clusterId, durable, software, index }),
  );
  const parts: Parts = {
    kafka: { brokers },
    registry: registry({ ...common, software }),
    postgres: postgres({ ...common, home, durable }),
    redis: state.redis === null ? null : redis({ ...common, program: state.redis }),
  };
  const others = [parts.registry, parts.postgres, ...(parts.redis === null ? [] : [parts.redis])];
  const all = [...others, ...brokers];
  return {
    ...parts,
    all,
    async start() {
      let reason: unknown;
      const starts = all.map((part) =>
        part.start().catch((error: unknown) => {
          reason ??= error;
          failed.abort();
          return false;
        }),
      );
      const started = await Promise.all(starts);
      if (failed.signal.aborted) throw reason;
      if (brokers.length > 1) await untilTheyKnowEachOther(ports.kafka);
      return started.includes(true);
    },
    async stop() {
      for (const part of others) await part.stop();
      // Together: each hands its leaders over while the others still live, and none waits for a quorum that is gone.
      await Promise.all(brokers.map((each) => each.stop()));
    },
    async addresses() {
      return {
        KAFKA_BOOTSTRAP_SERVERS: ports.kafka.map((port) => `127.0.0.1:${port}`).join(','),
        SCHEMA_REGISTRY_URL: registryUrl(ports),
        POSTGRES_URL: postgresUrl(ports, await home()),
        ...(state.redis === null ? {} : { REDIS_URL: redisUrl(ports) }),
      };
    },
  };
}

/** A client that counts the brokers finds all of them only when each of them knows the others. */
async function untilTheyKnowEachOther(ports: readonly number[]): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const views = await Promise.all(ports.map((port) => liveBrokers(port).catch(() => [])));
    if (views.every((view) => view.length === ports.length)) return;
    if (performance.now() > deadline) {
      throw new StackError('PART_FAILED', 'the brokers are up, but did not find each other within 30 s');
    }
    await sleep(50);
  }
}

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}
