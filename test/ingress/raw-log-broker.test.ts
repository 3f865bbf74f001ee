import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { call, signed, testIngress, testTopics, text, type TestTopics } from './harness.ts';

describe('the raw log on a real broker', { timeout: 120_000 }, () => {
  let topics: TestTopics;
  before(async () => {
    topics = await testTopics();
  });
  after(() => topics.close());

  test('acknowledged webhooks are in the log exactly once under load, in order for each user', async () => {
    const ingress = await testIngress(topics);
    const agent = new Agent({ keepAlive: true, maxSockets: 64 });
    const users = 60;
    const each = 20;
    try {
      // Each user's webhooks one after the other, all users at once.
      const statuses = await Promise.all(
        Array.from({ length: users }, async (_, user) => {
          const answers: number[] = [];
          for (let number = 0; number < each; number += 1) {
            const body = JSON.stringify({ user_id: `user-${user}`, number });
            answers.push((await signed(ingress.port, 'oura', body, { agent })).status);
          }
          return answers;
        }),
      );
      assert.ok(statuses.flat().every((status) => status === 200));
      const numbers = new Map<string, number[]>();
      for (const { key, value } of await topics.read(topics.names.raw.oura)) {
        const { number } = JSON.parse(String(value)) as { number: number };
        numbers.set(text(key) ?? '', [...(numbers.get(text(key) ?? '') ?? []), number]);
      }
      assert.equal(numbers.size, users);
      const inOrder = Array.from({ length: each }, (_, number) => number);
      for (const [user, seen] of numbers) assert.deepEqual(seen, inOrder, user);

      const metrics = await call({
        port: ingress.port,
        path: '/metrics',
        method: 'GET',
        headers: { accept: 'text/plain' },
      });
      const sends = Number(
        /bridge_ingress_sends_total\{result="acknowledged"\} (\d+)/.exec(metrics.body)?.[1],
      );
      assert.ok(sends > 0 && sends < users * each, `${users * each} records went in ${sends} sends`);
    } finally {
      agent.destroy();
      await ingress.stop();
    }
  });

  test('a body that the broker refuses as too large gets 413, its neighbours are accepted, and the breaker stays closed', async () => {
    const strict = await testTopics({ maxBytes: 100_000 });
    // Without compression, sizes are predictable.
    const ingress = await testIngress(strict, { KAFKA_COMPRESSION_TYPE: 'none' });
    try {
      const large = JSON.stringify({ user_id: 'large', note: 'x'.repeat(200_000) });
      for (let sent = 0; sent < 8; sent += 1) {
        const answer = await signed(ingress.port, 'whoop', large);
        assert.deepEqual([answer.status, answer.json()['code']], [413, 'record_too_large']);
      }
      const small = JSON.stringify({ user_id: 'small' });
      assert.equal((await signed(ingress.port, 'whoop', small)).status, 200);
      assert.equal(
        (await call({ port: ingress.port, path: '/metrics', method: 'GET' })).json()[
          'circuit_breaker_openings'
        ],
        0,
      );

      // For one user, hence one partition: together they are more than the topic takes, alone they are not.
      const agent = new Agent({ keepAlive: true, maxSockets: 20 });
      const bodies = Array.from({ length: 20 }, (_, number) =>
        JSON.stringify({ user_id: 'together', number, note: 'x'.repeat(30_000) }),
      );
      const answers = await Promise.all(bodies.map((body) => signed(ingress.port, 'oura', body, { agent })));
      agent.destroy();
      assert.deepEqual(
        answers.map(({ status }) => status),
        bodies.map(() => 200),
      );
      const records = await strict.read(strict.names.raw.oura);
      assert.deepEqual(records.map(({ value }) => String(value)).sort(), [...bodies].sort());
    } finally {
      await ingress.stop();
      await strict.close();
    }
  });

  test('stopping finishes and answers the requests in progress', async () => {
    const ingress = await testIngress(topics);
    const agent = new Agent({ keepAlive: true });
    await signed(ingress.port, 'terra', '{"user_id":"before"}', { agent });
    const inHand = Array.from({ length: 30 }, (_, number) =>
      signed(ingress.port, 'terra', JSON.stringify({ user_id: `stop-${number}` }), { agent }),
    );
    const settled = Promise.allSettled(inHand);
    await inHand[0];
    await ingress.stop();
    const taken = (await settled).filter(
      (result) => result.status === 'fulfilled' && result.value.status === 200,
    );
    const records = await topics.read(topics.names.raw.terra);
    assert.equal(records.length, taken.length + 1);
    await assert.rejects(signed(ingress.port, 'terra', '{}'), { code: 'ECONNREFUSED' });
    agent.destroy();
  });
});
