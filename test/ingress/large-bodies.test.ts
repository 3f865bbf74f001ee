import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { call, hex, signed, testIngress, testTopics, until, type TestTopics } from './harness.ts';

const MiB = 1024 * 1024;
const ouraSecret = 'oura-secret-of-the-tests';

/** A simple body of exactly that many bytes. */
function bodyOf(bytes: number): Buffer {
  const head = '{"user_id":"large","timestamp":"2025-07-30T12:00:00Z","note":"';
  const filling = randomBytes(Math.ceil(bytes / 2)).toString('hex');
  return Buffer.from(head + filling.slice(0, bytes - head.length - 2) + '"}');
}

describe('large bodies', { timeout: 120_000 }, () => {
  let topics: TestTopics;
  let ingress: Awaited<ReturnType<typeof testIngress>>;
  let port = 0;

  before(async () => {
    topics = await testTopics();
    ingress = await testIngress(topics);
    port = ingress.port;
  });
  after(async () => {
    await ingress.stop();
    await topics.close();
  });

  test('of 0.9, 1.1 and 9.9 MiB, and of exactly 10 MiB, are accepted byte for byte', async () => {
    const bodies = [0.9, 1.1, 9.9, 10].map((size) => bodyOf(Math.floor(size * MiB)));
    for (const [index, body] of bodies.entries()) {
      const options = index % 2 === 0 ? {} : { chunkBytes: 50_000 };
      assert.equal((await signed(port, 'healthkit', body, options)).status, 200);
    }
    const records = await topics.read(topics.names.raw.healthkit);
    for (const body of bodies) assert.ok(records.some(({ value }) => value?.equals(body)));
  });

  test('over 10 MiB are 413, declared or chunked, and the sender gets the answer while it still sends', async () => {
    const body = bodyOf(10 * MiB + 1);
    for (const options of [{}, { chunkBytes: 100_000 }]) {
      const answer = await signed(port, 'oura', body, options);
      assert.equal(answer.status, 413);
      assert.equal(answer.json()['code'], 'body_too_large');
      assert.equal(answer.headers['connection'], 'close');
    }
  });

  test('a refused sender that never ends is cut off', async () => {
    const socket = connect(port, '127.0.0.1');
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => undefined);
    let answer = '';
    socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
    socket.write('POST /webhook/oura HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n');
    const chunk = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(MiB, 'x'), Buffer.from('\r\n')]);
    const send = (): void => {
      if (!socket.destroyed) socket.write(chunk, () => setImmediate(send));
    };
    send();
    await closed;
    assert.match(answer, /^HTTP\/1\.1 401 /);
    assert.match(answer, /connection: close/i);
  });

  test('forty of 1 MiB at once get only 200 and 503, and concurrent small webhooks all get 200', async () => {
    const large = bodyOf(MiB);
    const heads = { 'content-length': large.length, signature: hex(ouraSecret, large) };
    // All forty are in the middle of their bodies, until the small ones have their answers.
    const sockets = Array.from({ length: 40 }, () => {
      const socket = connect(port, '127.0.0.1');
      const lines = Object.entries(heads).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(`POST /webhook/oura HTTP/1.1\r\nhost: x\r\nconnection: close\r\n${lines.join('')}\r\n`);
      socket.write(large.subarray(0, 100_000));
      let answer = '';
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      const status = new Promise<string>((resolve, reject) => {
        socket.once('error', reject);
        socket.once('close', () => resolve(answer.slice(9, 12)));
      });
      return { socket, status, answer: () => answer };
    });
    await until(
      () => sockets.filter(({ answer }) => answer() !== '').length === 8,
      'eight are over the budget',
    );
    const small = await Promise.all(
      Array.from({ length: 50 }, (_, user) =>
        signed(port, 'oura', JSON.stringify({ user_id: `small-${user}` })),
      ),
    );
    assert.deepEqual(new Set(small.map(({ status }) => status)), new Set([200]));
    for (const { socket } of sockets) socket.write(large.subarray(100_000));
    const statuses = await Promise.all(sockets.map(({ status }) => status));
    assert.deepEqual([...new Set(statuses)].sort(), ['200', '503']);
    assert.equal(statuses.filter((status) => status === '200').length, 32);
    assert.match(sockets.find(({ answer }) => answer().includes(' 503 '))!.answer(), /retry-after: 1\r\n/i);

    const atOnce = await Promise.all([
      ...Array.from({ length: 40 }, () => signed(port, 'whoop', large)),
      ...Array.from({ length: 40 }, () => signed(port, 'oura', '{"user_id":"small"}')),
    ]);
    assert.ok(atOnce.slice(0, 40).every(({ status }) => status === 200 || status === 503));
    assert.ok(atOnce.slice(40).every(({ status }) => status === 200));
    const levels = await call({ port, path: '/metrics', method: 'GET', headers: { accept: 'text/plain' } });
    assert.match(levels.body, /large_body_bytes 0\n/);
    assert.match(levels.body, /webhooks_in_hand 0\n/);
  });

  test('chunked ones are counted as they arrive', async () => {
    const large = bodyOf(8 * MiB);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => signed(port, 'terra', large, { chunkBytes: 100_000 })),
    );
    assert.ok(answers.every(({ status }) => status === 200 || status === 503));
    const levels = await call({ port, path: '/metrics', method: 'GET', headers: { accept: 'text/plain' } });
    assert.match(levels.body, /large_body_bytes 0\n/);
  });
});
