import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { Agent, request as httpRequest, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { readIngressConfig } from '../../ingress/config.ts';
import { startIngress, type RunningIngress } from '../../ingress/main.ts';
import type { Logger } from '../../process/log.ts';
import { kafkaClient, type Admin, type Kafka } from '../../kafka/client.ts';
import type { LogRecord } from '../../kafka/record-batch.ts';
import { createTopics } from '../../kafka/topics.ts';
import { topicNames, topicSpecs, type TopicNames } from '../../schemas/topics.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';
import { readCommitted } from '../kafka/read.ts';

export const secrets = {
  OURA_WEBHOOK_SECRET: 'oura-secret-of-the-tests,oura-older-secret',
  WHOOP_WEBHOOK_SECRET: 'whoop-secret-of-the-tests',
  TERRA_WEBHOOK_SECRET: 'terra-secret-of-the-tests',
  APPLE_HEALTHKIT_SECRET: 'healthkit-secret-of-the-tests',
  OURA_VERIFICATION_TOKEN: 'token-of-the-tests',
} as const;

export const partitions = 4;

/** The brokers to test with; without them the tests fail and say so. */
export function bootstrapServers(): string {
  const servers = process.env['KAFKA_BOOTSTRAP_SERVERS'];
  assert.ok(
    servers !== undefined && servers !== '',
    'KAFKA_BOOTSTRAP_SERVERS is not set: start the local stack, then `set -a; . .local/env; set +a`',
  );
  return servers;
}

/** A log that keeps its lines. */
export function capturedLog(level = 'debug'): { log: Logger; lines: string[] } {
  const lines: string[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  return { log: pino({ level }, stream), lines };
}

export const silentLog = pino({ level: 'silent' });

/** The topics of one test file, under a prefix of their own. */
export interface TestTopics {
  readonly prefix: string;
  readonly names: TopicNames<VendorName>;
  readonly kafka: Kafka;
  readonly admin: Admin;
  /** Everything that the topic holds now. */
  read(topic: string): Promise<LogRecord[]>;
  /** Deletes the topics and disconnects. */
  close(): Promise<void>;
}

export async function testTopics(
  options: { maxBytes?: number; servers?: string; replicationFactor?: number } = {},
): Promise<TestTopics> {
  const connection = { brokers: (options.servers ?? bootstrapServers()).split(',') };
  const kafka = kafkaClient(connection, { clientId: 'ingress-tests', log: silentLog });
  const admin = kafka.admin();
  await admin.connect();
  const prefix = `test-${randomUUID().slice(0, 8)}-`;
  const names = topicNames(prefix, vendorNames);
  const wanted = new Set<string>([...Object.values(names.raw), names.test]);
  const specs = topicSpecs(names)
    .filter(({ name }) => wanted.has(name))
    .map(({ name, config }) => ({
      name,
      config:
        options.maxBytes === undefined
          ? config
          : { ...config, 'max.message.bytes': String(options.maxBytes) },
    }));
  await createTopics(admin, specs, { partitions, replicationFactor: options.replicationFactor ?? 1 });
  return {
    prefix,
    names,
    kafka,
    admin,
    read: (topic) => readCommitted(connection, [topic]),
    async close() {
      await admin.deleteTopics({ topics: [...wanted] });
      await admin.disconnect();
    },
  };
}

/** An ingress on the test's topics, on any free port. */
export async function testIngress(
  topics: Pick<TestTopics, 'prefix'>,
  env: Record<string, string> = {},
  log: Logger = silentLog,
): Promise<RunningIngress & { readonly port: number }> {
  const config = readIngressConfig({
    KAFKA_BOOTSTRAP_SERVERS: env['KAFKA_BOOTSTRAP_SERVERS'] ?? bootstrapServers(),
    TOPIC_PREFIX: topics.prefix,
    TOPIC_PARTITIONS: String(partitions),
    TOPIC_REPLICATION_FACTOR: '1',
    HOST: '127.0.0.1',
    PORT: '0',
    ...secrets,
    ...env,
  });
  const running = await startIngress(config, log);
  return { ...running, port: running.address.port };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The body as JSON. */
  json(): Record<string, unknown>;
}

export interface Call {
  readonly port: number;
  readonly path: string;
  readonly method?: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly agent?: Agent;
  /** Sends the body in chunks of this size without declaring its length. */
  readonly chunkBytes?: number;
}

/** One HTTP exchange on a connection of its own, unless an agent is given. */
export function call(options: Call): Promise<Answer> {
  const { port, path, headers = {}, chunkBytes } = options;
  const body = Buffer.from(options.body ?? '');
  const method = options.method ?? 'POST';
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        method,
        agent: options.agent ?? false,
        timeout: 15_000,
        headers:
          chunkBytes === undefined && (body.length > 0 || method === 'POST')
            ? { 'content-length': body.length, ...headers }
            : headers,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: text,
            json: () => JSON.parse(text) as Record<string, unknown>,
          });
        });
      },
    );
    request.on('timeout', () => request.destroy(new Error('no answer in time')));
    request.on('error', reject);
    if (chunkBytes === undefined) {
      request.end(body);
      return;
    }
    for (let at = 0; at < body.length; at += chunkBytes) request.write(body.subarray(at, at + chunkBytes));
    request.end();
  });
}

export function hex(secret: string, ...parts: (string | Buffer)[]): string {
  const hmac = createHmac('sha256', secret);
  for (const part of parts) hmac.update(part);
  return hmac.digest('hex');
}

const plainSecrets: Record<string, string> = {
  oura: 'oura-secret-of-the-tests',
  whoop: secrets.WHOOP_WEBHOOK_SECRET,
  terra: secrets.TERRA_WEBHOOK_SECRET,
  healthkit: secrets.APPLE_HEALTHKIT_SECRET,
};

/** A POST to a vendor's route with a right plain signature. */
export function signed(
  port: number,
  device: string,
  body: string | Buffer,
  options: Partial<Call> = {},
): Promise<Answer> {
  return call({
    port,
    path: `/webhook/${device}`,
    body,
    ...options,
    headers: {
      'content-type': 'application/json',
      signature: hex(plainSecrets[device] ?? '', body),
      ...options.headers,
    },
  });
}

/** Resolves once `condition` holds; fails with `what` after `timeoutMs`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 20_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `still not so after ${timeoutMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function text(
  value: Buffer | string | readonly (Buffer | null)[] | undefined | null,
): string | undefined {
  return value === undefined || value === null ? undefined : String(value);
}
