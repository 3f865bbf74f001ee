import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { createTopics } from '../../kafka/topics.ts';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { topicNames, topicSpecs } from '../../schemas/topics.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { vendorNames } from '../../vendors/index.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { Flow } from '../streams/broker/flow.ts';
import { assertOnceEach } from '../streams/broker/traced.ts';
import { soon, until } from '../streams/until.ts';

interface Process {
  readonly child: ChildProcess;
  readonly lines: Record<string, unknown>[];
}

/** `bridge topology` as a process of its own, running. */
async function topology(t: TestContext, env: NodeJS.ProcessEnv): Promise<Process> {
  const child = spawn(process.execPath, [bridgeProgram, 'topology'], {
    env: { PATH: process.env['PATH'], ...env, LOG_LEVEL: 'info', ADMIN_PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  const lines: Record<string, unknown>[] = [];
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as (typeof lines)[number]));
  await until('tasks', () => lines.some(({ msg }) => msg === 'tasks assigned') || undefined);
  return { child, lines };
}

test('case 12: of two live processes with one INSTANCE_ID the younger exits with 2 and names the other, which goes on', async (t) => {
  const registryUrl = process.env['SCHEMA_REGISTRY_URL'];
  assert.ok(registryUrl !== undefined, 'SCHEMA_REGISTRY_URL is not set: run it with "npm test"');
  const cluster = await Cluster.open(t);
  const { prefix } = cluster;
  const names = topicNames(prefix, vendorNames);
  const group = `${prefix}biometric-bridge`;
  const specs = [...topicSpecs(names), ...changelogSpecs(group)];
  await createTopics(cluster.admin, specs, { partitions: 4, replicationFactor: 1 });
  await registerSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl }), prefix);
  const env = {
    KAFKA_BOOTSTRAP_SERVERS: bootstrapServers().join(','),
    SCHEMA_REGISTRY_URL: registryUrl,
    TOPIC_PREFIX: prefix,
    TOPIC_PARTITIONS: '4',
    TOPIC_REPLICATION_FACTOR: '1',
    INSTANCE_ID: 'twin',
  };
  // No JSON: each record becomes one dead letter.
  const flow = await Flow.start(cluster, [names.raw.oura]);
  const older = await topology(t, env);
  const younger = await topology(t, env);
  if (younger.child.exitCode === null)
    await soon('the end of the younger', once(younger.child, 'exit'), 60_000);
  assert.equal(younger.child.exitCode, 2);
  const last = younger.lines.find(({ msg }) => msg === 'failed');
  assert.match(
    String(last?.['reason']),
    /INSTANCE_ID: another live process has the same instance id: member \S+:twin-consumer-\S+ of group \S+, at 127\.0\.0\.1;/,
  );
  const seen = flow.sent;
  await until('the older to go on', () => (flow.sent > seen + 100 ? true : undefined));
  const sent = await flow.stop();
  await cluster.drained([names.raw.oura], group);
  assert.equal(older.child.exitCode, null);
  older.child.kill('SIGTERM');
  await soon('the end of the older', once(older.child, 'exit'));
  assert.equal(older.child.exitCode, 0);
  assertOnceEach(await cluster.read([names.deadLetters]), sent);
});
