import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { startAdmin, type AdminServer } from '../../process/admin.ts';
import { soon } from '../streams/until.ts';

/** Sends `head` as it is, and resolves with all that the server answers. */
async function exchange(port: number, head: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  socket.write(`${head}\r\nhost: admin\r\nconnection: close\r\n\r\n`, 'latin1');
  await soon('the answer', once(socket, 'close'));
  return answer;
}

describe(
  'case 1: a request to the admin port of topology or sink ended the process',
  { timeout: 30_000 },
  () => {
    let admin: AdminServer;
    let metrics = (): Promise<string> => Promise.resolve('a_total 1\n');
    const status = async (head: string): Promise<string> =>
      /^HTTP\/1\.1 (\d+)/.exec(await exchange(admin.port, head))?.[1] ?? 'none';

    before(async () => {
      admin = await startAdmin({
        port: 0,
        host: '127.0.0.1',
        metrics: { contentType: 'text/plain', metrics: () => metrics() },
        probes: { live: () => 'ok', ready: () => 'not yet' },
      });
    });
    after(() => admin.close());

    for (const target of [
      '//',
      '///',
      '//[',
      '/\\',
      'http://[',
      'http://',
      'https:///',
      '*',
      '/%',
      '/livez/',
    ]) {
      test(`GET ${target} gets 404`, async () => {
        assert.equal(await status(`GET ${target} HTTP/1.1`), '404');
        assert.equal(await status('GET /livez HTTP/1.1'), '200');
      });
    }

    test('the absolute form and a query are understood', async () => {
      assert.equal(await status('GET http://admin/livez?verbose=// HTTP/1.1'), '200');
      assert.equal(await status('GET /readyz?x HTTP/1.1'), '503');
    });

    test('HEAD gets the status without a body, other methods 405', async () => {
      assert.match(await exchange(admin.port, 'HEAD /livez HTTP/1.1'), /^HTTP\/1\.1 200 [^]*\r\n\r\n$/);
      assert.match(
        await exchange(admin.port, 'DELETE /livez HTTP/1.1'),
        /^HTTP\/1\.1 405 [^]*allow: GET, HEAD/,
      );
      assert.equal(await status('POST // HTTP/1.1\r\ncontent-length: 0'), '405');
    });

    test('headers over 16 KiB get 431, and no HTTP 400', async () => {
      assert.equal(await status(`GET /livez HTTP/1.1\r\nx: ${'x'.repeat(17_000)}`), '431');
      assert.equal(await status('\u0016\u0003\u0001'), '400');
    });

    test('metrics that cannot be made get 500', async () => {
      metrics = () => {
        throw new Error('a secret');
      };
      const answer = await exchange(admin.port, 'GET /metrics HTTP/1.1');
      assert.match(answer, /^HTTP\/1\.1 500 /);
      assert.doesNotMatch(answer, /secret/);
      metrics = () => Promise.reject(new Error('a secret'));
      assert.equal(await status('GET /metrics HTTP/1.1'), '500');
      metrics = () => Promise.resolve('a_total 1\n');
      assert.equal(await status('GET /metrics HTTP/1.1'), '200');
    });
  },
);
