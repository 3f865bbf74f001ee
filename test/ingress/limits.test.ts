import assert from 'node:assert/strict';
import { createServer as createTcpServer, connect, type AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import { test, type TestContext } from 'node:test';
import { createListener } from '../../ingress/app.ts';
import { createByteBudget } from '../../ingress/admission.ts';
import { connectionLimits, createHttpServer, type ConnectionLimits } from '../../ingress/http-server.ts';
import { listening } from '../../process/listening.ts';
import { readBody, type ReadBody } from '../../ingress/read-body.ts';
import { sendText } from '../../ingress/response.ts';
import { call, until } from './harness.ts';

/** A server that reads every body to its end; its limits are shortened, so that a test may wait for them. */
async function server(
  t: TestContext,
  limits: Partial<ConnectionLimits> = {},
  idleMs = 150,
): Promise<{ server: Server; port: number; read: ReadBody[] }> {
  const read: ReadBody[] = [];
  const listener = createListener(
    [
      {
        path: '/webhook/oura',
        methods: {
          async POST(request, response) {
            const lease = createByteBudget(1_000_000).lease();
            const pace = { idleMs, bytesPerSecond: 1_000 };
            read.push(await readBody(request, response, { maxBytes: 1_000_000, lease, pace }));
            sendText(request, response, 200, 'text/plain', 'read\n');
          },
        },
      },
    ],
    (error) => assert.fail(String(error)),
  );
  const http = createHttpServer(listener, { checkEveryMs: 20, ...limits });
  const { port } = await listening(http, 'PORT', 0, '127.0.0.1');
  t.after(() => {
    http.closeAllConnections();
    http.close();
  });
  return { server: http, port, read };
}

/** Writes `parts` with a pause before each but the first; resolves with the answer once the server closes. */
function talk(port: number, parts: readonly string[], pauseMs = 0): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let response = '';
    socket.on('data', (chunk: Buffer) => (response += chunk.toString('latin1')));
    socket.on('error', () => undefined);
    const timers = parts.map((part, index) => setTimeout(() => socket.write(part), index * pauseMs));
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      for (const timer of timers) clearTimeout(timer);
      resolve(response);
    });
  });
}

function assertProblem(response: string, status: number, code: string): void {
  assert.match(response, new RegExp(`^HTTP/1.1 ${status} `), response);
  assert.match(response, /\r\ncontent-type: application\/problem\+json\r\n/i);
  assert.match(response, /\r\nconnection: close\r\n/i);
  const { status: actual, code: actualCode } = JSON.parse(response.split('\r\n\r\n')[1] ?? '') as Record<
    string,
    unknown
  >;
  assert.deepEqual([actual, actualCode], [status, code]);
}

const post = 'POST /webhook/oura HTTP/1.1\r\nhost: x\r\n';

for (const [title, status, code, request] of [
  ['headers over 16 KiB', 431, 'headers_too_large', `${post}x: ${'x'.repeat(17_000)}\r\n\r\n`],
  ['what is not HTTP', 400, 'bad_request', 'hello\r\n\r\n'],
  ['HTTP/2', 400, 'bad_request', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
  ['no Host', 400, 'bad_request', 'POST /webhook/oura HTTP/1.1\r\ncontent-length: 0\r\n\r\n'],
  ['two lengths', 400, 'bad_request', `${post}content-length: 1\r\ncontent-length: 2\r\n\r\nxx`],
  [
    'a length and chunks',
    400,
    'bad_request',
    `${post}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ['a chunk without a size', 400, 'bad_request', `${post}transfer-encoding: chunked\r\n\r\nzz\r\nxx\r\n`],
  ['a header with a control character', 400, 'bad_request', `${post}a: b\u0001\r\n\r\n`],
  ['an unknown expectation', 417, 'expectation', `${post}expect: wonders\r\ncontent-length: 0\r\n\r\n`],
] as const) {
  test(`${title}: ${status} as a problem document, and the end of the connection`, async (t) => {
    const { port } = await server(t);
    assertProblem(await talk(port, [request]), status, code);
  });
}

test('headers that do not end in time get 408', async (t) => {
  const { port } = await server(t, { headersMs: 200, requestMs: 5_000 });
  assertProblem(
    await talk(port, [post, 'a: b\r\n', 'c: d\r\n', 'e: f\r\n', 'g: h\r\n'], 90),
    408,
    'request_too_slow',
  );
});

test('a request that does not end in time gets 408', async (t) => {
  const { port, read } = await server(t, { headersMs: 100, requestMs: 300 }, 60_000);
  const dribble = Array.from({ length: 20 }, () => 'x'.repeat(500));
  assertProblem(
    await talk(port, [`${post}content-length: 100000\r\n\r\n`, ...dribble], 50),
    408,
    'request_too_slow',
  );
  await until(() => read.length === 1, 'the webhook is given up');
  assert.deepEqual(read, [{ ok: false, code: 'incomplete_body' }]);
});

test('a body that pauses or is too slow is abandoned, and one that is slow but steady is read', async (t) => {
  const { port, read } = await server(t);
  const head = `${post}content-length: 300\r\nconnection: close\r\n\r\n`;
  void talk(port, [head]);
  await until(() => read.length === 1, 'it pauses');
  void talk(port, [head, ...Array.from({ length: 300 }, () => 'x')], 20);
  await until(() => read.length === 2, 'it crawls');
  assert.match(
    await talk(port, [head, ...Array.from({ length: 3 }, () => 'x'.repeat(100))], 70),
    /^HTTP\/1.1 200 /,
  );
  const slow = { ok: false, code: 'body_too_slow' };
  assert.deepEqual(read, [slow, slow, { ok: true, body: Buffer.alloc(300, 'x') }]);
});

test('an idle connection outlives the time for headers, so that a proxy closes it first', async (t) => {
  assert.ok(connectionLimits.keepAliveMs > 60_000);
  const { port } = await server(t, { headersMs: 100, requestMs: 200, keepAliveMs: 2_000 });
  const request = `${post}content-length: 0\r\n\r\n`;
  const last = request.replace('host: x', 'host: x\r\nconnection: close');
  const response = await talk(port, [request, last], 500);
  assert.equal(response.split('HTTP/1.1 200 ').length - 1, 2);
});

test('connections over the limit are closed on arrival, the others continue', async (t) => {
  const { port } = await server(t, { connections: 2 });
  const held = [connect(port, '127.0.0.1'), connect(port, '127.0.0.1')];
  for (const socket of held) await new Promise((resolve) => socket.once('connect', resolve));
  await assert.rejects(call({ port, path: '/webhook/oura' }));
  const answered = new Promise<string>((resolve) => held[0]!.once('data', (chunk) => resolve(String(chunk))));
  held[0]!.write(`${post}content-length: 0\r\n\r\n`);
  assert.match(await answered, /^HTTP\/1.1 200 /);
  for (const socket of held) socket.destroy();
});

test('a webhook behaves the same whichever way it is routed', async (t) => {
  const { port } = await server(t);
  for (const target of ['/webhook/oura', '/webhook/oura?a=b', 'http://x/webhook/oura']) {
    const head = (method: string): string =>
      `${method} ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`;
    assert.match(await talk(port, [head('POST')]), /^HTTP\/1.1 200 /);
    assert.match(await talk(port, [head('OPTIONS')]), /^HTTP\/1.1 204 [^]*\r\nallow: POST, OPTIONS\r\n/i);
    assertProblem(await talk(port, [head('DELETE')]), 405, 'method_not_allowed');
  }
  assertProblem(
    await talk(port, ['POST /webhook/ours HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n']),
    404,
    'not_found',
  );
});

test('an unreadable target gets 404 like any unknown path', async (t) => {
  const { port } = await server(t);
  for (const target of [
    'http://[',
    '//',
    '*',
    '/%',
    'x:',
    '/\\\\|:[)#x',
    'http://a b/',
    '//a|b[#',
    'http://x:99999/a',
    '/\\',
    '//x:y@/',
    '?',
    '#',
  ]) {
    const response = await talk(port, [`GET ${target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n`]);
    if (!response.startsWith('HTTP/1.1 400 ')) assertProblem(response, 404, 'not_found');
  }
});

test('the error for a taken port names it', async (t) => {
  const other = createTcpServer().listen(0, '127.0.0.1');
  t.after(() => other.close());
  await new Promise((resolve) => other.once('listening', resolve));
  const { port } = other.address() as AddressInfo;
  const http = createHttpServer(() => undefined);
  await assert.rejects(listening(http, 'PORT', port, '127.0.0.1'), { message: /it is taken.*set PORT/ });
});
