import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import pg from 'pg';
import { readLocalEnv } from '../../local/env.ts';
import { liveBrokers } from '../../local/broker.ts';
import { pidFileOf } from '../../local/part.ts';
import { livePid } from '../../local/processes.ts';
import { registryAnswers } from '../../local/registry.ts';
import { startStack } from '../../local/stack.ts';
import { projectRoot } from '../../process/root.ts';
import { bridge, separateStack } from './support.ts';

const parts = ['kafka-1', 'registry', 'postgres'];

test('bridge local up, up again, down, up and reset do what they say', async (t) => {
  // Closed to others, as a clone below /root is: Postgres, which does not run as root, must find another place then.
  const { directory, env } = await separateStack(t, { mode: 0o700 });

  const up = await bridge(['local', 'up'], env);
  assert.equal(up.code, 0, up.output);
  assert.match(up.output, /local stack: embedded \(Java \d+, processes of this machine\)/);
  for (const name of parts) assert.match(up.output, new RegExp(`${name} up in \\d+\\.\\d s`));
  const pids = parts.map((name) => livePid(pidFileOf(directory, name)));
  assert.ok(pids.every((pid) => pid !== undefined));
  assert.equal(statSync(join(directory, 'env')).mode & 0o777, 0o600);
  const local = readLocalEnv(directory);
  assert.equal(local['KAFKA_BOOTSTRAP_SERVERS'], `127.0.0.1:${env['LOCAL_KAFKA_PORT'] ?? ''}`);
  assert.equal(local['TOPIC_PARTITIONS'], '4');
  assert.equal(local['TOPIC_REPLICATION_FACTOR'], '1');
  const schemaId = await registerSchema(local['SCHEMA_REGISTRY_URL']!, 'a');
  await query(local['POSTGRES_URL']!, 'CREATE TABLE kept (id int)');
  // Whatever a statement carries stays out of the log.
  await assert.rejects(query(local['POSTGRES_URL']!, "INSERT INTO kept VALUES ('planted-value')"));

  const again = await bridge(['local', 'up'], env);
  assert.equal(again.code, 0, again.output);
  assert.match(again.output, /it was up already; nothing was changed/);
  assert.deepEqual(
    parts.map((name) => livePid(pidFileOf(directory, name))),
    pids,
  );
  const three = await bridge(['local', 'up', '--brokers', '3'], env);
  assert.equal(three.code, 1);
  assert.match(three.output, /holds the data of the embedded stack with one broker.*bridge local reset/);

  // What `npm start` does: it uses the stack, says so, and leaves it running.
  const lines: string[] = [];
  const reused = await startStack({ directory, env, onProgress: (line) => lines.push(line) });
  assert.ok(reused.reused && !reused.started);
  assert.match(lines.join('\n'), /left running by bridge local up/);
  const during = await bridge(['local', 'down'], env);
  assert.equal(during.code, 1);
  assert.match(during.output, new RegExp(`is in use by .*\\(pid ${process.pid}\\)`));
  assert.match((await bridge(['local', 'up'], env)).output, /nothing was changed/);
  await reused.stop();
  assert.deepEqual(
    parts.map((name) => livePid(pidFileOf(directory, name))),
    pids,
  );

  const down = await bridge(['local', 'down'], env);
  assert.equal(down.code, 0, down.output);
  assert.match(down.output, /stopped; the data is kept/);
  assert.deepEqual(readdirSync(join(directory, 'pids')), []);
  assert.match((await bridge(['local', 'down'], env)).output, /nothing was running/);

  const later = await bridge(['local', 'up'], env);
  assert.equal(later.code, 0, later.output);
  assert.deepEqual(readLocalEnv(directory), local, 'secrets and addresses stay');
  assert.notEqual(await registerSchema(local['SCHEMA_REGISTRY_URL']!, 'b'), schemaId);
  assert.equal(await registerSchema(local['SCHEMA_REGISTRY_URL']!, 'a'), schemaId, 'ids survive a restart');
  await query(local['POSTGRES_URL']!, 'SELECT id FROM kept');
  for (const name of parts) {
    assert.ok(!readFileSync(join(directory, 'logs', `${name}.log`), 'utf8').includes('planted-value'), name);
  }

  const reset = await bridge(['local', 'reset'], env);
  assert.equal(reset.code, 0, reset.output);
  assert.deepEqual(readdirSync(directory), []);
});

test('the next start ends processes that a killed run left running, and each of its own can be killed and restarted with its data', async (t) => {
  const { directory, env } = await separateStack(t);
  const module = JSON.stringify(join(projectRoot(), 'local', 'stack.ts'));
  const script = `const { startStack } = await import(${module});
    await startStack({ owner: 'npm start' }); console.log('up'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: projectRoot(),
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');

  const refused = await bridge(['local', 'up'], env);
  assert.equal(refused.code, 1);
  assert.match(refused.output, new RegExp(`in use by npm start \\(pid ${child.pid!}\\)`));

  child.kill('SIGKILL');
  await once(child, 'exit');
  const before = parts.map((name) => livePid(pidFileOf(directory, name))!);
  assert.ok(
    before.every((pid) => isAlive(pid)),
    'a kill leaves the parts behind',
  );
  const lines: string[] = [];
  const stack = await startStack({ directory, env, onProgress: (line) => lines.push(line) });
  assert.ok(!stack.reused && stack.started);
  assert.match(lines.join('\n'), /stopping the stack that runs in/);
  for (const name of parts) assert.ok(!before.includes(livePid(pidFileOf(directory, name))!), name);

  const kafka = Number(stack.env['KAFKA_BOOTSTRAP_SERVERS']!.split(':')[1]);
  await query(stack.env['POSTGRES_URL']!, 'CREATE TABLE kept (id int)');
  const schemaId = await registerSchema(stack.env['SCHEMA_REGISTRY_URL']!, 'a');
  const [broker] = stack.kafka.brokers;

  const all = [broker!, stack.registry!, stack.postgres!];
  await Promise.all(all.map((part) => part.stop('SIGKILL')));
  await assert.rejects(liveBrokers(kafka));
  await assert.rejects(registryAnswers(stack.env['SCHEMA_REGISTRY_URL']!));
  await assert.rejects(query(stack.env['POSTGRES_URL']!, 'SELECT 1'));
  await Promise.all(all.map((part) => part.start()));
  assert.deepEqual(await liveBrokers(kafka), [1]);
  const known = await fetch(`${stack.env['SCHEMA_REGISTRY_URL']!}/schemas/ids/${schemaId}`);
  assert.equal(known.status, 200, 'what was registered just before the kill is known by its id');
  assert.equal(await registerSchema(stack.env['SCHEMA_REGISTRY_URL']!, 'a'), schemaId);
  await query(stack.env['POSTGRES_URL']!, 'SELECT id FROM kept');
  assert.ok(!lines.some((line) => line.includes('unexpectedly')), 'what is asked for is not unexpected');

  process.kill(livePid(pidFileOf(directory, 'registry'))!, 'SIGKILL');
  const report = `registry ended unexpectedly by SIGKILL; its log is ${join(directory, 'logs', 'registry.log')}`;
  while (!lines.includes(report)) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await stack.stop();
  assert.deepEqual(readdirSync(join(directory, 'pids')), []);
  assert.ok(before.every((pid) => !isAlive(pid)));
});

test('a start that fails or is ended leaves nothing running and releases the stack', async (t) => {
  const { directory, env } = await separateStack(t);

  const other = createServer().listen(Number(env['LOCAL_REGISTRY_PORT']), '127.0.0.1');
  await once(other, 'listening');
  await assert.rejects(startStack({ directory, env }), {
    code: 'PORT_TAKEN',
    message: /LOCAL_REGISTRY_PORT/,
  });
  other.close();
  assert.ok(!existsSync(join(directory, 'lock')));
  for (const name of parts) assert.equal(livePid(pidFileOf(directory, name)), undefined, name);

  const ending = new AbortController();
  const onProgress = (line: string): void => {
    if (line.startsWith('postgres up')) ending.abort();
  };
  await assert.rejects(startStack({ directory, env, onProgress, signal: ending.signal }), {
    code: 'ABORTED',
  });
  assert.ok(!existsSync(join(directory, 'lock')));
  for (const name of parts) assert.equal(livePid(pidFileOf(directory, name)), undefined, name);
});

async function registerSchema(registryUrl: string, name: string): Promise<number> {
  const schema = JSON.stringify({ type: 'record', name, fields: [{ name: 'x', type: 'int' }] });
  const response = await fetch(`${registryUrl}/subjects/${name}-value/versions`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
    body: JSON.stringify({ schema }),
    signal: AbortSignal.timeout(10_000),
  });
  assert.equal(response.status, 200);
  return ((await response.json()) as { id: number }).id;
}

async function query(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end();
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
