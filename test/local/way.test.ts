import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { writeLocalEnv } from '../../local/env.ts';
import { startStack } from '../../local/stack.ts';
import { chooseWay } from '../../local/way.ts';
import { bareEnv, temporaryDirectory } from './support.ts';

test('without Java and Docker the message names all three ways', async (t) => {
  const env = { PATH: temporaryDirectory(t) };
  await assert.rejects(chooseWay(env), {
    code: 'NO_STACK',
    message:
      /Java is not installed; Docker is not installed[^]*1\. Java 17[^]*2\. a Docker engine[^]*3\. KAFKA_BOOTSTRAP_SERVERS/,
  });
});

test('a Java that is too old is told from none', async (t) => {
  const env = { PATH: programs(t, { java: `echo 'openjdk version "11.0.2" 2019-01-15' >&2` }) };
  await assert.rejects(chooseWay(env), { code: 'NO_STACK', message: /Java 11 is too old \(17 or newer/ });
  const ancient = { PATH: programs(t, { java: `echo 'java version "1.8.0_292"' >&2` }) };
  await assert.rejects(chooseWay(ancient), { code: 'NO_STACK', message: /Java 8 is too old/ });
});

test('a Docker engine that does not answer is told from none', async (t) => {
  const env = { PATH: programs(t, { docker: 'exit 1' }) };
  await assert.rejects(chooseWay(env), { code: 'NO_STACK', message: /no Docker engine answers/ });
});

test('a Docker engine is used where there is no Java, and LOCAL_STACK decides by hand', async (t) => {
  const docker = programs(t, { docker: 'exit 0' });
  assert.equal((await chooseWay({ PATH: docker })).path, 'docker');
  assert.equal((await chooseWay(bareEnv())).path, 'embedded');
  assert.equal(
    (await chooseWay(bareEnv({ PATH: `${docker}:${process.env['PATH'] ?? ''}`, LOCAL_STACK: 'docker' })))
      .path,
    'docker',
  );
  await assert.rejects(chooseWay({ PATH: docker, LOCAL_STACK: 'embedded' }), {
    code: 'NO_STACK',
    message: /Java is not installed; Docker was not looked for \(LOCAL_STACK=embedded\)/,
  });
  await assert.rejects(chooseWay({ PATH: docker, LOCAL_STACK: 'podman' }), { message: /embedded or docker/ });
});

test('a given Kafka is used as it is, and nothing is started or written', async (t) => {
  const directory = join(temporaryDirectory(t), 'stack');
  const given = {
    KAFKA_BOOTSTRAP_SERVERS: 'kafka.example:9092',
    SCHEMA_REGISTRY_URL: 'http://registry.example/apis/ccompat/v7',
    POSTGRES_URL: 'postgres://postgres.example/bridge',
    OURA_WEBHOOK_SECRET: 'given',
  };
  const lines: string[] = [];
  const stack = await startStack({ directory, env: bareEnv(given), onProgress: (line) => lines.push(line) });
  assert.equal(stack.path, 'given');
  assert.match(lines.join('\n'), /^given stack: KAFKA_BOOTSTRAP_SERVERS is set \(kafka\.example:9092\)/);
  for (const [name, value] of Object.entries(given)) assert.equal(stack.env[name], value);
  assert.ok((stack.env['WHOOP_WEBHOOK_SECRET'] ?? '').length > 20, 'a secret that is not given is made up');
  await stack.stop();
  assert.ok(!existsSync(directory));
});

test('a given Kafka without the rest is refused, naming what is missing', async (t) => {
  const env = bareEnv({ KAFKA_BOOTSTRAP_SERVERS: 'kafka.example:9092', POSTGRES_URL: '' });
  await assert.rejects(startStack({ directory: temporaryDirectory(t), env }), {
    code: 'GIVEN_INCOMPLETE',
    message: /SCHEMA_REGISTRY_URL and POSTGRES_URL are not/,
  });
});

test('a shell that has read the env file of the stack names the stack itself, not a given one', async (t) => {
  const directory = temporaryDirectory(t);
  writeLocalEnv(directory, { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1' });
  const env = { KAFKA_BOOTSTRAP_SERVERS: '127.0.0.1:1', PATH: temporaryDirectory(t) };
  await assert.rejects(startStack({ directory, env }), { code: 'NO_STACK' });
});

test('containers are started and taken down by docker compose, with our ports', async (t) => {
  const directory = temporaryDirectory(t);
  const calls = join(directory, 'calls');
  const record = `echo "$LOCAL_KAFKA_PORT $*" >> ${calls}; case "$*" in *' ps '*) cat ${calls}.up;; *' up '*) echo kafka > ${calls}.up;; esac; exit 0`;
  writeFileSync(`${calls}.up`, '');
  const env = bareEnv({ PATH: `${programs(t, { docker: record })}:/usr/bin:/bin`, LOCAL_STACK: 'docker' });
  const stack = await startStack({ directory, env, ports: 'free' });
  assert.equal(stack.path, 'docker');
  await stack.stop();
  const port = /:(\d+)$/.exec(stack.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '')?.[1] ?? '';
  const made = readFileSync(calls, 'utf8').split('\n');
  const compose = new RegExp(
    `^${port} compose -p biometric-bridge-[0-9a-f]{8} -f \\S+/docker-compose.kafka.yml `,
  );
  const composed = made.filter((line) => compose.test(line)).map((line) => line.replace(compose, ''));
  assert.ok(composed.includes('up --detach --wait --wait-timeout 120'), composed.join('\n'));
  assert.equal(composed.filter((line) => !line.startsWith('ps ')).at(-1), 'down --timeout 15');
});

/** A folder with shell scripts for programs; the scripts see no other PATH than their own and /bin. */
function programs(t: TestContext, scripts: Record<string, string>): string {
  const folder = join(temporaryDirectory(t), 'bin');
  mkdirSync(folder);
  for (const [name, script] of Object.entries(scripts)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  return folder;
}
