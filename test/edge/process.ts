/** `bridge ingress` as a process of its own, as it runs in production. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { TestContext } from 'node:test';
import { bootstrapServers, call, partitions, secrets, until, type Answer } from '../ingress/harness.ts';
import { bridgeProgram } from '../bridge-program.ts';

export interface EdgeProcess {
  readonly port: number;
  readonly adminPort: number;
  readonly child: ChildProcess;
  /** Its log lines so far, of all its workers. */
  readonly lines: Record<string, unknown>[];
  /** What it wrote that is no log line, such as the trace of a crash. */
  readonly strays: string[];
  /** The text metrics. */
  metrics(): Promise<string>;
  /** Sends SIGTERM and resolves with the exit code. */
  stop(): Promise<number | null>;
}

/** Starts an ingress on the topics of `prefix`; killed after the test should it still run. */
export async function edgeProcess(
  t: Pick<TestContext, 'after'>,
  prefix: string,
  env: Record<string, string> = {},
  program = bridgeProgram,
): Promise<EdgeProcess> {
  const { child, lines, strays } = spawnIngress(t, prefix, env, program);
  const ports = (): { port: number; adminPort: number } | undefined =>
    lines.find(({ msg, adminPort }) => msg === 'the ingress listens' && adminPort !== undefined) as never;
  await until(() => {
    assert.equal(child.exitCode, null, `it ended: ${strays.join('\n')} ${JSON.stringify(lines.at(-1))}`);
    return ports() !== undefined;
  }, 'the ingress listens');
  const { port, adminPort } = ports()!;
  return {
    port,
    adminPort,
    child,
    lines,
    strays,
    metrics: async () => (await get(adminPort, '/metrics', { accept: 'text/plain' })).body,
    async stop() {
      const exit = once(child, 'exit');
      child.kill('SIGTERM');
      await exit;
      return child.exitCode;
    },
  };
}

/** The same, not waited for. */
export function spawnIngress(
  t: Pick<TestContext, 'after'>,
  prefix: string,
  env: Record<string, string> = {},
  program = bridgeProgram,
): Pick<EdgeProcess, 'child' | 'lines' | 'strays'> {
  const child = spawn(process.execPath, [program, 'ingress'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      NODE_ENV: '',
      POSTGRES_URL: '',
      REDIS_URL: '',
      KAFKA_BOOTSTRAP_SERVERS: env['KAFKA_BOOTSTRAP_SERVERS'] ?? bootstrapServers(),
      TOPIC_PREFIX: prefix,
      TOPIC_PARTITIONS: String(partitions),
      TOPIC_REPLICATION_FACTOR: '1',
      HOST: '127.0.0.1',
      PORT: '0',
      ADMIN_PORT: '0',
      LOG_LEVEL: 'info',
      ...secrets,
      ...env,
    },
  });
  t.after(() => child.kill('SIGKILL'));
  const lines: Record<string, unknown>[] = [];
  const strays: string[] = [];
  let half = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const parts = (half + chunk.toString()).split('\n');
    half = parts.pop() ?? '';
    for (const part of parts) {
      if (part.startsWith('{')) lines.push(JSON.parse(part) as Record<string, unknown>);
      else strays.push(part);
    }
  });
  child.stderr.on('data', (chunk: Buffer) => strays.push(chunk.toString()));
  return { child, lines, strays };
}

export function get(port: number, path: string, headers: Record<string, string> = {}): Promise<Answer> {
  return call({ port, path, method: 'GET', headers });
}

/** The value of a metric, all its labels summed; `label` chooses some of them. */
export function metric(text: string, name: string, label = ''): number {
  const lines = text
    .split('\n')
    .filter((line) => /^[a-z_]+/.exec(line)?.[0] === name && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}
