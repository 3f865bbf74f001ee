import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Runner } from './embedded.ts';
import { StackError } from './errors.ts';
import type { Part } from './part.ts';
import { assertFree } from './ports.ts';
import type { StackState } from './state.ts';

/** Whether a Docker engine with compose answers: true, or in words what is missing. */
export async function dockerAnswers(env: NodeJS.ProcessEnv): Promise<true | string> {
  const engine = await run(['info', '--format', '{{.ServerVersion}}'], env, 10_000);
  if (engine.code === 'ENOENT') return 'Docker is not installed';
  if (engine.code !== 0) return 'no Docker engine answers';
  const compose = await run(['compose', 'version', '--short'], env, 10_000);
  return compose.code === 0 ? true : 'a Docker engine answers, but docker compose is missing';
}

/** The stack as containers of docker-compose.kafka.yml, one compose project per directory. */
export function docker(
  state: StackState,
  options: {
    readonly directory: string;
    readonly root: string;
    readonly env: NodeJS.ProcessEnv;
    readonly onProgress: (line: string) => void;
  },
): Runner & { removeVolumes(): Promise<void> } {
  const { ports } = state;
  const kafkaPort = ports.kafka[0] ?? 0;
  const project = `biometric-bridge-${createHash('sha256').update(options.directory).digest('hex').slice(0, 8)}`;
  const env = {
    ...options.env,
    LOCAL_KAFKA_PORT: String(kafkaPort),
    LOCAL_REGISTRY_PORT: String(ports.registry),
    LOCAL_POSTGRES_PORT: String(ports.postgres),
    LOCAL_REDIS_PORT: String(ports.redis),
  };
  const compose = async (args: string[], timeoutMs: number): Promise<string> => {
    const file = join(options.root, 'docker-compose.kafka.yml');
    const result = await run(['compose', '-p', project, '-f', file, ...args], env, timeoutMs);
    if (result.code !== 0) {
      throw new StackError(
        'PART_FAILED',
        `docker compose ${args.join(' ')} failed (project ${project}):\n${result.output.trim().split('\n').slice(-10).join('\n')}`,
      );
    }
    return result.output;
  };
  const up = ['up', '--detach', '--wait', '--wait-timeout', '120'];
  const running = async (name: string): Promise<boolean> =>
    (await compose(['ps', '--services', '--status', 'running'], 30_000)).split('\n').includes(name);
  const part = (name: string): Part => ({
    name,
    running: () => running(name),
    async start() {
      if (await running(name)) return false;
      await compose([...up, '--no-deps', name], 180_000);
      return true;
    },
    async stop(signal = 'SIGTERM') {
      if (signal === 'SIGKILL') await compose(['kill', name], 30_000);
      else await compose(['stop', '--timeout', '15', name], 60_000);
    },
  });
  const [kafka, registry, postgres, redis] = [
    part('kafka'),
    part('registry'),
    part('postgres'),
    part('redis'),
  ];
  return {
    kafka: { brokers: [kafka] },
    registry,
    postgres,
    redis,
    async start() {
      const wasUp = await running('kafka');
      if (!wasUp) {
        await assertFree([kafkaPort], 'the Kafka container', 'LOCAL_KAFKA_PORT');
        await assertFree([ports.registry], 'the schema registry container', 'LOCAL_REGISTRY_PORT');
        await assertFree([ports.postgres], 'the Postgres container', 'LOCAL_POSTGRES_PORT');
        await assertFree([ports.redis], 'the Redis container', 'LOCAL_REDIS_PORT');
      }
      options.onProgress('starting the containers (images are pulled first where they are missing)');
      const began = performance.now();
      // Generous: the images are about 1 GB together.
      await compose(up, 900_000);
      options.onProgress(`containers up in ${((performance.now() - began) / 1000).toFixed(1)} s`);
      return !wasUp;
    },
    async stop() {
      for (const each of [registry, postgres, redis, kafka]) await each.stop();
      await compose(['down', '--timeout', '15'], 60_000);
    },
    addresses: () =>
      Promise.resolve({
        KAFKA_BOOTSTRAP_SERVERS: `127.0.0.1:${kafkaPort}`,
        SCHEMA_REGISTRY_URL: `http://127.0.0.1:${ports.registry}/apis/ccompat/v7`,
        POSTGRES_URL: `postgres://bridge:bridge@127.0.0.1:${ports.postgres}/bridge`,
        REDIS_URL: `redis://127.0.0.1:${ports.redis}`,
      }),
    async removeVolumes() {
      await compose(['down', '--volumes', '--timeout', '15'], 60_000);
    },
  };
}

function run(
  args: string[],
  env: NodeJS.ProcessEnv,
  timeoutMs: number,
): Promise<{ code: number | string; output: string }> {
  return new Promise((resolve) => {
    execFile('docker', args, { env, timeout: timeoutMs }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (error.code ?? 'timeout'), output: `${stdout}\n${stderr}` });
    });
  });
}
