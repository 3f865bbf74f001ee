import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  call,
  capturedLog,
  hex,
  secrets,
  signed,
  testIngress,
  testTopics,
  type TestTopics,
} from './harness.ts';

const planted = 'planted-5f1d7c';

describe('what a request holds stays out of logs and answers', { timeout: 60_000 }, () => {
  let topics: TestTopics;
  before(async () => {
    topics = await testTopics();
  });
  after(() => topics.close());

  test('whether it is accepted, malformed, rejected or too large', async () => {
    const { log, lines } = capturedLog('trace');
    const ingress = await testIngress(topics, { MAX_BODY_BYTES: '100000', TERRA_WEBHOOK_SECRET: '' }, log);
    const { port } = ingress;
    const headers = {
      authorization: `Bearer ${planted}`,
      cookie: planted,
      'x-terra-trace-id': planted,
      'content-type': `application/json; x=${planted}`,
      traceparent: planted,
      'user-agent': planted,
    };
    const bodies = [
      JSON.stringify({ user_id: planted, hrv_data: { rmssd: 20 }, note: planted }),
      `{"user_id":"${planted}",`,
      planted,
      JSON.stringify({ note: planted }),
      planted.repeat(10_000),
    ];
    const answers = [];
    for (const body of bodies) {
      for (const device of ['oura', 'whoop', 'terra', 'healthkit']) {
        answers.push(await signed(port, device, body, { headers }));
        answers.push(
          await call({ port, path: `/webhook/${device}`, body, headers: { ...headers, signature: planted } }),
        );
        answers.push(
          await call({
            port,
            path: `/webhook/${device}`,
            body,
            headers: { ...headers, signature: hex(planted, body) },
          }),
        );
      }
      answers.push(await call({ port, path: '/webhook/test', body, headers }));
      answers.push(await call({ port, path: `/webhook/${planted}`, body, headers }));
    }
    answers.push(
      await call({
        port,
        path: `/webhook/oura?verification_token=${planted}&challenge=${planted}`,
        method: 'GET',
        headers,
      }),
      await call({ port, path: '/metrics', method: 'GET', headers: { accept: 'text/plain' } }),
    );
    await ingress.stop();

    assert.ok(answers.some(({ status }) => status === 200) && answers.some(({ status }) => status === 413));
    assert.ok(lines.length > 5);
    for (const text of [...lines, ...answers.map(({ body }) => body)]) {
      assert.equal(text.includes(planted), false, text);
      for (const secret of Object.values(secrets).flatMap((list) => list.split(','))) {
        assert.equal(text.includes(secret), false);
      }
    }
  });

  test('also when Kafka refuses or cannot be reached', async () => {
    const { log, lines } = capturedLog('trace');
    const ingress = await testIngress(
      topics,
      { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:9', ACK_DEADLINE_MS: '200' },
      log,
    );
    for (let sent = 0; sent < 6; sent += 1) {
      const answer = await signed(ingress.port, 'oura', JSON.stringify({ user_id: planted }));
      assert.equal(answer.status, 503);
      assert.equal(answer.body.includes(planted), false);
    }
    await ingress.stop();
    assert.ok(lines.some((line) => line.includes('a send failed')));
    for (const line of lines) assert.equal(line.includes(planted), false, line);
  });
});
