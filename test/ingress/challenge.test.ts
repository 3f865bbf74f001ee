import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import { after, before, test } from 'node:test';
import { createListener } from '../../ingress/app.ts';
import { ouraChallenge } from '../../ingress/challenge.ts';
import { closeServer, createHttpServer } from '../../ingress/http-server.ts';
import { listening } from '../../process/listening.ts';
import { call, type Answer } from './harness.ts';

const token = 'verification token?&=';
let server: Server;
let port = 0;

before(async () => {
  const unexpected = (error: unknown): void => assert.fail(error instanceof Error ? error : 'unexpected');
  const app = createListener(
    [
      { path: '/webhook/oura', methods: { GET: ouraChallenge(token) } },
      { path: '/empty', methods: { GET: ouraChallenge('') } },
      { path: '/unset', methods: { GET: ouraChallenge(undefined) } },
    ],
    unexpected,
  );
  server = createHttpServer(app);
  ({ port } = await listening(server, 'PORT', 0, '127.0.0.1'));
});
after(() => closeServer(server, 1_000));

function ask(query: string, options: { method?: string; path?: string } = {}): Promise<Answer> {
  const { method = 'GET', path = '/webhook/oura' } = options;
  return call({ port, path: `${path}?${query}`, method });
}
const named = `verification_token=${encodeURIComponent(token)}`;

test('a challenge is returned unchanged, with 200 and as JSON', async () => {
  for (const challenge of ['c', 'a+b/c==', 'ä "quoted" \\', '?what?', 'x'.repeat(4_000), '__proto__', '0']) {
    const answer = await ask(`${named}&challenge=${encodeURIComponent(challenge)}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers['content-type'], 'application/json');
    assert.equal(answer.body, JSON.stringify({ challenge }));
  }
});

test('a question mark in the query is part of it', async () => {
  const answer = await ask(`${named}&challenge=ab?cd`);
  assert.deepEqual([answer.status, answer.body], [200, '{"challenge":"ab?cd"}']);
});

test('the order of the parameters does not matter, and others are ignored', async () => {
  assert.equal((await ask(`other=1&challenge=c&${named}&challenge2=d`)).body, '{"challenge":"c"}');
});

test('HEAD gets the head of the answer', async () => {
  const right = await ask(`${named}&challenge=c`, { method: 'HEAD' });
  assert.deepEqual([right.status, right.headers['content-length'], right.body], [200, '17', '']);
  const wrong = await ask('verification_token=x&challenge=c', { method: 'HEAD' });
  assert.deepEqual([wrong.status, wrong.body], [401, '']);
});

test('a wrong token gets 401 and no challenge', async () => {
  for (const wrong of ['', 'x', token.slice(1), `${token}x`, token.toUpperCase(), 'ä', '\0', '%']) {
    for (const query of [encodeURIComponent(wrong), '%', '%zz', '%ff']) {
      const answer = await ask(`verification_token=${query}&challenge=planted`);
      assert.equal(answer.status, 401, query);
      assert.doesNotMatch(answer.body, /planted/);
    }
  }
});

test('a correct token without a challenge, and any repeated parameter, gets 400', async () => {
  for (const query of [
    '',
    'challenge=c',
    named,
    `${named}&challenge=`,
    `${named}&challenge`,
    `${named}&challenge=c&challenge=c`,
    `${named}&${named}&challenge=c`,
    `${named}&Challenge=c`,
  ]) {
    assert.equal((await ask(query)).status, 400, query);
  }
});

test('without a configured token no challenge is answered, the empty token included', async () => {
  for (const path of ['/empty', '/unset']) {
    const answer = await ask('verification_token=&challenge=planted', { path });
    assert.equal(answer.status, 503);
    assert.match(String(answer.headers['retry-after']), /^[1-9]\d*$/);
    assert.doesNotMatch(answer.body, /planted/);
  }
});
