import assert from 'node:assert/strict';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { readIngressConfig } from '../../ingress/config.ts';
import { startIngress } from '../../ingress/main.ts';
import { wantsText } from '../../ingress/metrics.ts';
import { pingRedis } from '../../ingress/redis-ping.ts';
import { version } from '../../process/version.ts';
import {
  bootstrapServers,
  call,
  capturedLog,
  partitions,
  signed,
  silentLog,
  testIngress,
  testTopics,
  until,
  type Answer,
  type TestTopics,
} from './harness.ts';

/** A Redis that answers each command with the next of `answers`. */
async function fakeRedis(answers: string[]): Promise<{ server: Server; url: string; received: string[] }> {
  const received: string[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      received.push(chunk.toString());
      socket.write(answers.join(''));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}
function close(server: Server): Promise<void> {
  return new Promise((resolve) => server.close(() => resolve()));
}
function get(port: number, path: string, accept?: string): Promise<Answer> {
  return call({ port, path, method: 'GET', ...(accept === undefined ? {} : { headers: { accept } }) });
}

/** A port at which nothing listens. */
async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await close(server);
  return port;
}

describe('the probes and metrics of an ingress', { timeout: 120_000 }, () => {
  let topics: TestTopics;
  before(async () => {
    topics = await testTopics();
  });
  after(() => topics.close());

  test('healthy: the whole answer, with null for what is not configured', async () => {
    const ingress = await testIngress(topics, { SERVICE_NAME: 'biometric-bridge' });
    try {
      const answer = await get(ingress.port, '/health');
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.json(), {
        status: 'healthy',
        service: 'biometric-bridge',
        version: version(),
        enhancements: {
          circuit_breaker: 'operational',
          enhanced_kafka_producer: 'operational',
          production_settings: 'active',
        },
        connections: { postgres: null, redis: null, kafka: true },
      });
      assert.equal((await get(ingress.port, '/livez')).body, 'ok\n');
      const ready = await get(ingress.port, '/readyz');
      assert.deepEqual([ready.status, ready.body], [200, 'ok\n']);
    } finally {
      await ingress.stop();
    }
  });

  test('a database or cache that is down degrades the health, and webhooks are still accepted', async () => {
    const redis = await fakeRedis(['+OK\r\n', '+PONG\r\n']);
    const ingress = await testIngress(topics, {
      POSTGRES_URL: `postgres://user:secret-part@127.0.0.1:${await unusedPort()}/none`,
      REDIS_URL: `redis://:secret-part@${redis.url}`,
    });
    try {
      let health: Answer | undefined;
      await until(async () => {
        health = await get(ingress.port, '/health');
        return (health.json()['connections'] as Record<string, unknown>)['redis'] === true;
      }, 'Redis has been pinged');
      assert.equal(health?.status, 503);
      assert.equal(health.json()['status'], 'degraded');
      assert.deepEqual(health.json()['connections'], { postgres: false, redis: true, kafka: true });
      assert.equal((await get(ingress.port, '/readyz')).status, 200);
      assert.equal((await signed(ingress.port, 'oura', '{"user_id":"u"}')).status, 200);
    } finally {
      await ingress.stop();
      await close(redis.server);
    }
  });

  test('without Kafka it listens and is live, is not ready, and answers webhooks with 503 in time', async () => {
    const { log, lines } = capturedLog('info');
    const config = readIngressConfig({
      KAFKA_BOOTSTRAP_SERVERS: `127.0.0.1:${await unusedPort()}`,
      TOPIC_PREFIX: topics.prefix,
      HOST: '127.0.0.1',
      PORT: '0',
      OURA_WEBHOOK_SECRET: 'oura-secret-of-the-tests',
      ACK_DEADLINE_MS: '300',
    });
    const ingress = await startIngress(config, log);
    const { port } = ingress.address;
    try {
      assert.equal((await get(port, '/livez')).status, 200);
      const ready = await get(port, '/readyz');
      assert.equal(ready.status, 503);
      assert.match(String(ready.json()['detail']), /Kafka does not answer/);
      const health = await get(port, '/health');
      assert.deepEqual(
        [health.status, (health.json()['connections'] as { kafka: boolean }).kafka],
        [503, false],
      );
      const answer = await signed(port, 'oura', '{"user_id":"u"}');
      assert.equal(answer.status, 503);
      assert.ok(answer.headers['retry-after']);
      assert.ok(lines.some((line) => line.includes('NO SECRET FOR terra')));
    } finally {
      await ingress.stop();
    }
  });

  test('five failed sends open the breaker, which every probe shows; bad signatures do not', async () => {
    const config = readIngressConfig({
      KAFKA_BOOTSTRAP_SERVERS: `127.0.0.1:${await unusedPort()}`,
      TOPIC_PREFIX: topics.prefix,
      HOST: '127.0.0.1',
      PORT: '0',
      OURA_WEBHOOK_SECRET: 'oura-secret-of-the-tests',
      ACK_DEADLINE_MS: '100',
    });
    const ingress = await startIngress(config, silentLog);
    const { port } = ingress.address;
    try {
      for (let bad = 0; bad < 20; bad += 1) {
        assert.equal((await call({ port, path: '/webhook/oura', body: '{}' })).status, 401);
      }
      for (let failed = 0; failed < 5; failed += 1) {
        const answer = await signed(port, 'oura', '{"user_id":"u"}');
        assert.equal(answer.status, 503);
        assert.notEqual(answer.json()['code'], 'breaker_open');
        const summary = (await get(port, '/metrics')).json();
        if (failed < 4) assert.equal(summary['circuit_breaker_openings'], 0);
      }
      await until(
        async () => (await get(port, '/metrics')).json()['circuit_breaker_openings'] === 1,
        'the fifth failure has opened it',
      );
      const refused = await signed(port, 'oura', '{"user_id":"u"}');
      assert.equal(refused.json()['code'], 'breaker_open');
      const retryAfter = Number(refused.headers['retry-after']);
      assert.ok(retryAfter > 50 && retryAfter <= 60, `Retry-After: ${retryAfter}`);
      const health = (await get(port, '/health')).json();
      assert.equal((health['enhancements'] as Record<string, string>)['circuit_breaker'], 'open');
      assert.match((await get(port, '/metrics', 'text/plain')).body, /bridge_ingress_breaker_open 1\n/);
    } finally {
      await ingress.stop();
    }
  });

  test('metrics are JSON for curl and text for Prometheus and browsers', async () => {
    const ingress = await testIngress(topics);
    try {
      await signed(ingress.port, 'oura', '{"user_id":"a-user-of-the-metrics"}');
      await signed(ingress.port, 'oura', 'no JSON');
      await call({ port: ingress.port, path: '/webhook/oura', body: '{}' });
      await call({ port: ingress.port, path: '/webhook/test', body: '{}' });
      const summary = await get(ingress.port, '/metrics', '*/*');
      assert.equal(summary.headers['content-type'], 'application/json');
      const { average_processing_time: seconds, active_connections: connections, ...rest } = summary.json();
      assert.deepEqual(rest, {
        processed_webhooks_total: 2,
        circuit_breaker_openings: 0,
        kafka_events_sent: 3,
        error_rate: 0.5,
      });
      assert.ok(typeof seconds === 'number' && seconds > 0 && seconds < 10);
      assert.ok(typeof connections === 'number' && connections >= 1);

      const text = await get(
        ingress.port,
        '/metrics',
        'application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1',
      );
      assert.match(String(text.headers['content-type']), /^text\/plain/);
      assert.match(text.body, /bridge_ingress_webhooks_total\{device="oura",outcome="processed"\} 1\n/);
      assert.match(text.body, /bridge_ingress_webhooks_total\{device="oura",outcome="not_json"\} 1\n/);
      assert.match(
        text.body,
        /bridge_ingress_webhooks_total\{device="oura",outcome="signature_missing"\} 1\n/,
      );
      assert.match(text.body, /process_cpu_seconds_total/);
      assert.doesNotMatch(text.body, /a-user-of-the-metrics/);
    } finally {
      await ingress.stop();
    }
  });

  test('an Accept header decides between text and JSON', () => {
    const chrome = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8';
    for (const accept of ['text/plain', 'Text/Plain;version=0.0.4', 'application/openmetrics-text', chrome]) {
      assert.equal(wantsText(accept), true, accept);
    }
    for (const accept of [undefined, '', '*/*', 'application/json', 'application/json, */*']) {
      assert.equal(wantsText(accept), false, accept);
    }
  });

  test('with an admin port, metrics and details are served there only', async () => {
    const ingress = await testIngress(topics, { ADMIN_PORT: '0' });
    try {
      const admin = ingress.adminAddress;
      assert.ok(admin !== undefined && admin.host === '127.0.0.1');
      assert.equal((await get(ingress.port, '/metrics')).status, 404);
      assert.deepEqual((await get(ingress.port, '/health')).json(), {
        status: 'healthy',
        service: 'biometric-bridge',
      });
      assert.equal((await get(admin.port, '/metrics')).status, 200);
      assert.ok('connections' in (await get(admin.port, '/health')).json());
      assert.equal((await get(admin.port, '/readyz')).status, 200);
      assert.equal((await get(ingress.port, '/readyz')).status, 200);
      assert.equal((await signed(admin.port, 'oura', '{}')).status, 404);
    } finally {
      await ingress.stop();
    }
  });

  test('missing topics make it not ready; a different number of partitions stops it with a message', async () => {
    const missing = await testIngress({ prefix: 'there-is-no-such-topic-' });
    try {
      const ready = await get(missing.port, '/readyz');
      assert.equal(ready.status, 503);
      assert.match(
        String(ready.json()['detail']),
        /there-is-no-such-topic-raw\.oura does not exist.*bridge topics/,
      );
      assert.equal((await signed(missing.port, 'oura', '{"user_id":"u"}')).status, 503);
    } finally {
      await missing.stop();
    }
    await assert.rejects(testIngress(topics, { TOPIC_PARTITIONS: String(partitions + 1) }), {
      name: 'TopicError',
      message: /has 4 partitions/,
    });
  });

  test('a taken port is named', async () => {
    const ingress = await testIngress(topics);
    try {
      await assert.rejects(testIngress(topics, { PORT: String(ingress.port) }), {
        message: `cannot listen on 127.0.0.1:${ingress.port} (it is taken): set PORT to another, or 0 for any free port`,
      });
    } finally {
      await ingress.stop();
    }
    assert.ok(bootstrapServers());
  });
});

describe('the ping of Redis', () => {
  test('logs in with the credentials of the URL, and receives PONG', async () => {
    const redis = await fakeRedis(['+OK\r\n', '+PONG\r\n']);
    await pingRedis(`redis://me:p%40ss@${redis.url}/2`, 2_000);
    assert.equal(
      redis.received.join(''),
      '*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$4\r\np@ss\r\n*1\r\n$4\r\nPING\r\n',
    );
    await close(redis.server);
  });

  test('says what is wrong, without the login', async () => {
    const refusing = await fakeRedis(['-WRONGPASS p@ss\r\n', '-NOAUTH\r\n']);
    await assert.rejects(pingRedis(`redis://:p%40ss@${refusing.url}`, 2_000), {
      message: 'Redis refuses PING or the login',
    });
    await close(refusing.server);
    const silent = await fakeRedis([]);
    await assert.rejects(pingRedis(`redis://${silent.url}`, 20), {
      message: 'Redis does not answer in time',
    });
    await close(silent.server);
    await assert.rejects(pingRedis(`redis://127.0.0.1:${await unusedPort()}`, 2_000), {
      message: 'Redis is not reachable (ECONNREFUSED)',
    });
  });
});
