import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { readIngressConfig } from '../../ingress/config.ts';
import { readRevokedUsers } from '../../ingress/revocations.ts';
import { ConfigError } from '../../process/config.ts';
import { schemaRegistry } from '../../schemas/registry.ts';

const brokers = { KAFKA_BOOTSTRAP_SERVERS: 'localhost:9092' };

/** The faults of the ingress' environment. */
function faults(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    readIngressConfig({ ...brokers, ...env });
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.faults;
  }
}

function fileWith(t: TestContext, bytes: Buffer | string): string {
  const folder = mkdtempSync(join(tmpdir(), 'environment-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'file');
  writeFileSync(path, bytes);
  return path;
}

describe('case 12: a wrong list of brokers was found out by the client, at its first connection', () => {
  for (const list of [
    ',',
    'a:1,',
    'a:1,,b:2',
    'a:1;b:2',
    'a:1 b:2',
    'PLAINTEXT://a:1',
    'localhost',
    'a:',
    ':1',
    'a:0',
    'a:65536',
    'a:1/x',
    '::1:9092',
    '[::1]',
  ]) {
    test(`${JSON.stringify(list)} is a fault of the variable`, () => {
      const [fault, ...others] = faults({ KAFKA_BOOTSTRAP_SERVERS: list });
      assert.match(fault ?? '', /^KAFKA_BOOTSTRAP_SERVERS: must be /);
      assert.deepEqual(others, []);
    });
  }

  test('names, addresses and several of them are taken', () => {
    const list = 'kafka-1.example.com:9092, 10.0.0.1:9093,[::1]:9092,under_score:1';
    assert.deepEqual(readIngressConfig({ KAFKA_BOOTSTRAP_SERVERS: list }).KAFKA_BOOTSTRAP_SERVERS, [
      'kafka-1.example.com:9092',
      '10.0.0.1:9093',
      '[::1]:9092',
      'under_score:1',
    ]);
  });
});

test('case 12: an empty secret in a list was dropped in silence', () => {
  for (const list of [',', 'new-secret,', ',old-secret', 'a,,b']) {
    const [fault, ...others] = faults({ OURA_WEBHOOK_SECRET: list });
    assert.match(fault ?? '', /^OURA_WEBHOOK_SECRET: must be values separated by commas, none of them empty/);
    assert.doesNotMatch(fault ?? '', /secret,|,old/);
    assert.deepEqual(others, []);
  }
  assert.deepEqual(faults({ OURA_WEBHOOK_SECRET: 'a;b, c' }), []);
});

describe('case 12: a secret file of another editor was read as another secret', () => {
  const read = (path: string): readonly string[] =>
    readIngressConfig({ ...brokers, OURA_WEBHOOK_SECRET_FILE: path }).OURA_WEBHOOK_SECRET;

  for (const [what, bytes] of [
    ['a byte order mark', '\uFEFFgéheim'],
    ['CRLF', 'géheim\r\n'],
    ['several line ends', 'géheim\r\n\n'],
  ] as const) {
    test(`${what} is no part of it`, (t) => assert.deepEqual(read(fileWith(t, bytes)), ['géheim']));
  }

  const utf16 = Buffer.from('\uFEFFgeheim', 'utf16le');
  for (const [what, bytes, fault] of [
    ['UTF-16', utf16, /is not text in UTF-8/],
    ['UTF-16, big-endian', Buffer.from(utf16).swap16(), /is not text in UTF-8/],
    ['UTF-16 without a byte order mark', utf16.subarray(2), /is not text in UTF-8/],
    ['Latin-1', Buffer.from('géheim', 'latin1'), /is not text in UTF-8/],
    ['several lines', 'geheim\r\ngeheim2\r\n', /holds several lines or a control character/],
  ] as const) {
    test(`${what} is a fault of the variable`, (t) => {
      const [found, ...others] = faults({ OURA_WEBHOOK_SECRET_FILE: fileWith(t, bytes) });
      assert.match(found ?? '', /^OURA_WEBHOOK_SECRET_FILE names a file that /);
      assert.match(found ?? '', fault);
      assert.doesNotMatch(found ?? '', /heim/);
      assert.deepEqual(others, []);
    });
  }

  test('a list of revoked users is read right or refused', (t) => {
    const users = '\uFEFFanna\r\nbert\r\n';
    assert.deepEqual([...readRevokedUsers(fileWith(t, users))], ['anna', 'bert']);
    for (const bytes of [Buffer.from(users, 'utf16le'), Buffer.from(users.slice(1), 'utf16le')]) {
      const path = fileWith(t, bytes);
      assert.throws(() => readRevokedUsers(path), /HEALTHKIT_REVOKED_FILE names is not text in UTF-8/);
      assert.match(faults({ HEALTHKIT_REVOKED_FILE: path }).join(), /^HEALTHKIT_REVOKED_FILE: /);
    }
  });
});

test("case 12: a % in the registry's password ended the process with a URIError", async (t) => {
  const sent: unknown[] = [];
  const server = createServer((request, response) => {
    sent.push(Buffer.from(String(request.headers.authorization).slice('Basic '.length), 'base64').toString());
    response.end('{"id":5}');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  for (const password of ['100%', '%zz%41', 'p%40ss'])
    await schemaRegistry({ SCHEMA_REGISTRY_URL: `http://u:${password}@127.0.0.1:${port}` }).lookupId(
      's',
      '"int"',
    );
  assert.deepEqual(sent, ['u:100%', 'u:%zzA', 'u:p@ss']);
});
