import assert from 'node:assert/strict';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { writeLocalEnv } from '../../local/env.ts';
import { startStack } from '../../local/stack.ts';
import { bareEnv, temporaryDirectory } from './support.ts';

test('without Java, the message names all three alternatives', async (t) => {
  await assert.rejects(
    startStack({ directory: temporaryDirectory(t), env: { PATH: temporaryDirectory(t) } }),
    {
      code: 'NO_STACK',
      message:
        /Java is not installed[^]*1\. install Java 17[^]*2\. [^]*docker compose -f docker-compose\.kafka\.yml up --wait[^]*3\. set KAFKA_BOOTSTRAP_SERVERS/,
    },
  );
});

test('a Java that is too old is distinguished from none', async (t) => {
  const directory = temporaryDirectory(t);
  const env = { PATH: programs(t, `echo 'openjdk version "11.0.2" 2019-01-15' >&2`) };
  await assert.rejects(startStack({ directory, env }), {
    code: 'NO_STACK',
    message: /Java 11 is too old \(17 or newer/,
  });
  const ancient = { PATH: programs(t, `echo 'java version "1.8.0_292"' >&2`) };
  await assert.rejects(startStack({ directory, env: ancient }), {
    code: 'NO_STACK',
    message: /Java 8 is too old/,
  });
});

test('an existing Kafka is used as it is, and nothing is started or written', async (t) => {
  const directory = join(temporaryDirectory(t), 'stack');
  const existing = {
    KAFKA_BOOTSTRAP_SERVERS: 'kafka.example:9092',
    SCHEMA_REGISTRY_URL: 'http://registry.example/apis/ccompat/v7',
    POSTGRES_URL: 'postgres://postgres.example/bridge',
    OURA_WEBHOOK_SECRET: 'existing',
  };
  const lines: string[] = [];
  const stack = await startStack({
    directory,
    env: bareEnv(existing),
    onProgress: (line) => lines.push(line),
  });
  assert.equal(stack.kind, 'existing');
  assert.match(lines.join('\n'), /^existing stack: KAFKA_BOOTSTRAP_SERVERS is set \(kafka\.example:9092\)/);
  for (const [name, value] of Object.entries(existing)) assert.equal(stack.env[name], value);
  assert.ok((stack.env['WHOOP_WEBHOOK_SECRET'] ?? '').length > 20, 'a secret that is not set is made up');
  await stack.stop();
  assert.ok(!existsSync(directory));
});

test('an existing Kafka without the other parts is refused, naming what is missing', async (t) => {
  const env = bareEnv({ KAFKA_BOOTSTRAP_SERVERS: 'kafka.example:9092', POSTGRES_URL: '' });
  await assert.rejects(startStack({ directory: temporaryDirectory(t), env }), {
    code: 'EXISTING_INCOMPLETE',
    message: /SCHEMA_REGISTRY_URL and POSTGRES_URL are not/,
  });
});

test('a shell that has read the env file of the stack names the stack itself, not an existing one', async (t) => {
  const directory = temporaryDirectory(t);
  writeLocalEnv(directory, { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1' });
  const env = { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1', PATH: temporaryDirectory(t) };
  await assert.rejects(startStack({ directory, env }), { code: 'NO_STACK' });
});

/** A folder for PATH whose only program is a `java` that runs the script. */
function programs(t: TestContext, java: string): string {
  const folder = join(temporaryDirectory(t), 'bin');
  mkdirSync(folder);
  writeFileSync(join(folder, 'java'), `#!/bin/sh\n${java}\n`, { mode: 0o755 });
  return folder;
}
