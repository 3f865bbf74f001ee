/**
 * Programs to compare with, which are no part of this repository: `kafka-streams/run.sh`, a stateless topology of Kafka
 * Streams, and `seed-bridge/run.sh`, a webhook service. They lie in BENCH_PEERS, or in a folder `peers` beside the clone.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { projectRoot } from '../../process/root.ts';
import type { Launch } from './processes.ts';

const programs = ['kafka-streams', 'seed-bridge'];

export class Peers {
  readonly directory: string | undefined;
  readonly #built = join(projectRoot(), '.local', 'bench-peers');

  /** @throws Error when BENCH_PEERS names a directory without the programs. */
  constructor(env: NodeJS.ProcessEnv = process.env) {
    const given = env['BENCH_PEERS'] ?? '';
    if (given !== '' && !isComplete(given))
      throw new Error(
        `BENCH_PEERS is ${given}, where ${programs.join('/run.sh and ')}/run.sh are not to be found`,
      );
    this.directory = given === '' ? besideTheClone() : given;
  }

  /** A program of the Kafka Streams peer; undefined without it. */
  kafkaStreams(
    main: 'Streams' | 'Fill',
    options: Readonly<Record<string, string | number>>,
  ): Launch | undefined {
    if (this.directory === undefined) return undefined;
    const scratch = join(this.#built, 'tmp');
    mkdirSync(scratch, { recursive: true });
    return {
      command: join(this.directory, 'kafka-streams', 'run.sh'),
      args: Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]),
      env: {
        MAIN: main,
        BUILD_DIR: join(this.#built, 'kafka-streams'),
        JAVA_TOOL_OPTIONS: `-Djava.io.tmpdir=${scratch}`,
      },
    };
  }

  /** The webhook service on a port; undefined without it. */
  seedBridge(options: { brokers: string; prefix: string; secret: string; port: number }): Launch | undefined {
    if (this.directory === undefined) return undefined;
    return {
      command: join(this.directory, 'seed-bridge', 'run.sh'),
      args: ['1', String(options.port)],
      env: {
        KAFKA_BROKERS: options.brokers,
        OUT_PREFIX: options.prefix,
        OURA_WEBHOOK_SECRET: options.secret,
        VENV_DIR: join(this.#built, 'seed-bridge'),
      },
    };
  }
}

function isComplete(directory: string): boolean {
  return programs.every((name) => existsSync(join(directory, name, 'run.sh')));
}

function besideTheClone(): string | undefined {
  const parent = dirname(projectRoot());
  return readdirSync(parent)
    .sort()
    .map((name) => join(parent, name, 'peers'))
    .find(isComplete);
}
