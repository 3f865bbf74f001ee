import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { readConfig } from '../../process/config.ts';
import { createDecoder, schemaIdOf } from '../../schemas/codec.ts';
import { registerSchemas } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { topologyVariables } from '../../topology/config.ts';
import { startTopology } from '../../topology/main.ts';
import { changelogSpecs } from '../../topology/changelogs.ts';
import { createTopics } from '../../kafka/topics.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { soon, until } from '../streams/until.ts';
import { rawRecord, webhookCases } from './cases.ts';
import { expectCases } from './expect-cases.ts';
import { topicNames, topicSpecs } from '../../schemas/topics.ts';
import { vendorNames } from '../../vendors/index.ts';

const registryUrl = process.env['SCHEMA_REGISTRY_URL'] ?? '';

for (const compression of ['none', 'snappy'] as const) {
  test(
    `each webhook of the table leads to what it must, through process, broker and registry, compression ${compression}`,
    { timeout: 120_000 },
    async (t) => {
      assert.ok(
        registryUrl !== '',
        'This test needs a schema registry: run it with "npm test", which starts one, or set SCHEMA_REGISTRY_URL',
      );
      const cluster = await Cluster.open(t);
      const names = topicNames(cluster.prefix, vendorNames);
      const specs = [...topicSpecs(names), ...changelogSpecs(`${cluster.prefix}biometric-bridge`)];
      await createTopics(cluster.admin, specs, { partitions: 4, replicationFactor: 1 });
      const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl });
      await registerSchemas(registry, cluster.prefix);
      // One send per record: the large ones would not fit into one batch.
      for (const webhook of webhookCases) {
        await cluster.append([rawRecord(webhook, (device) => names.raw[device])]);
      }
      const written: string[] = [];
      const log = pino({ level: 'trace' }, { write: (line: string) => written.push(line) });
      const config = readConfig(topologyVariables, {
        KAFKA_BOOTSTRAP_SERVERS: bootstrapServers().join(','),
        SCHEMA_REGISTRY_URL: registryUrl,
        TOPIC_PREFIX: cluster.prefix,
        TOPIC_PARTITIONS: '4',
        TOPIC_REPLICATION_FACTOR: '1',
        ADMIN_PORT: '0',
        KAFKA_COMPRESSION_TYPE: compression,
        LOG_LEVEL: 'silent',
      });
      const topology = await startTopology(config, log);
      let stopping: Promise<void> | undefined;
      const stop = (): Promise<void> => (stopping ??= topology.stop());
      cluster.after(stop);
      const group = `${cluster.prefix}biometric-bridge`;
      await cluster.drained(Object.values(names.raw), group);
      await until('readiness', async () => {
        const { status } = await fetch(`http://127.0.0.1:${topology.adminPort}/readyz`);
        return status === 200 || undefined;
      });
      const metrics = await (await fetch(`http://127.0.0.1:${topology.adminPort}/metrics`)).text();
      await soon('the end', stop());

      const records = await cluster.read([...Object.values(names.priority), names.deadLetters]);
      const { decode, prepare } = createDecoder((id) => registry.typeById(id));
      for (const { topic, value } of records)
        if (topic !== names.deadLetters) await prepare(schemaIdOf(value!));
      expectCases(records, names, decode);
      assert.match(metrics, /^stream_dead_lettered_records_total\{[^}]*code="MISSING_USER_ID"[^}]*\} 1$/m);
      assert.match(metrics, /^stream_dropped_records_total\{[^}]*reason="control"[^}]*\} 1$/m);
      assert.match(metrics, /^stream_lag_records\{[^}]*\} 0$/m);
      const everything = [...written, metrics].join('\n');
      for (const secret of ['planted', 'test_user', 'athlete-42', '9007199254740993', '39.999']) {
        assert.ok(!everything.includes(secret), `${secret} occurs in log or metrics`);
      }
    },
  );
}
