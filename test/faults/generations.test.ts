/** Promotions on the real broker: what every reader has in the end, what a second comparison says, and a log that moves. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { memory, NeurosClient } from '../../consumers/neuros/index.ts';
import { sinkVariables, startSink } from '../../consumers/postgres/main.ts';
import { createTopics } from '../../kafka/topics.ts';
import { deliveries } from '../../local/traffic/deliveries.ts';
import { readConfig } from '../../process/config.ts';
import { readStatus } from '../../replay/status.ts';
import { readerTopicSpecs } from '../../schemas/topics.ts';
import { vendorNames } from '../../vendors/index.ts';
import { capturedLog } from '../consumers/postgres/log.ts';
import { testDatabase } from '../consumers/postgres/database.ts';
import { bootstrapServers } from '../streams/broker/cluster.ts';
import { silentLog } from '../streams/log.ts';
import { until } from '../streams/until.ts';
import { linesOf, Live, type Webhook } from '../replay/live.ts';
import { registryUrl } from './application.ts';
import {
  compareWithFaultless,
  faultless,
  instance,
  openGenerations,
  prepare,
  promoteTo,
  readEvents,
  settled,
} from './reprocessing.ts';
import { report } from './settings.ts';

const timeout = 240_000;

/** Webhooks of all vendors that the ingress takes, received in the last hour. */
function traffic(count: number): Webhook[] {
  const secrets = Object.fromEntries(vendorNames.map((name) => [name, 'secret'])) as never;
  const webhooks: Webhook[] = [];
  const startMs = Date.now() - 3_600_000;
  for (const { device, body, expect } of deliveries({ seed: 11, startMs, secrets })) {
    const user = expect.outcome === 'event' ? expect.event.user_id : 'user-1';
    if (expect.outcome !== 'refused')
      webhooks.push({ device, body, user, receivedAt: startMs + webhooks.length });
    if (webhooks.length === count) break;
  }
  return webhooks;
}

/** What a sink and a NEUROS client have of a deployment. */
async function readersOf({ application }: Live) {
  const { cluster, env, names, partitions } = application;
  const database = await testDatabase({ migrated: false });
  const sink = await startSink(
    readConfig(sinkVariables, { ...env, POSTGRES_URL: database.url }),
    capturedLog().log,
  );
  cluster.after(async () => {
    await sink.stop();
    await database.drop();
  });
  await createTopics(cluster.admin, readerTopicSpecs(cluster.prefix, 'neuros'), {
    partitions,
    replicationFactor: Number(env['TOPIC_REPLICATION_FACTOR']),
  });
  const standing = new Set<string>();
  const announced: string[] = [];
  const client = new NeurosClient({
    brokers: bootstrapServers(),
    registry: registryUrl(),
    topicPrefix: cluster.prefix,
    groupId: 'neuros',
    alerts: memory(),
    log: silentLog,
    onAlert: ({ alert_id }) => {
      announced.push(alert_id);
      standing.add(alert_id);
    },
    onWithdrawn: ({ alert_id }) => void standing.delete(alert_id),
  });
  await client.start();
  cluster.after(() => client.close());
  return async () => {
    await cluster.drained(Object.values(names.priority), `${cluster.prefix}postgres-sink`, 60_000);
    for (const [priority, topic] of Object.entries(names.priority))
      await cluster.drained([topic], `${cluster.prefix}neuros-${priority.toLowerCase()}`, 60_000);
    const rows = await database.rows(
      `SELECT device_type, user_id, resource_id, event_id, revision, priority, hrv, hrv_sdnn, sleep_score, recovery_score,
         stress_level, resting_heart_rate, activity_data, flags, deleted, timestamp, local_date
       FROM biometric_events ORDER BY device_type, user_id, resource_id`,
    );
    return { rows, standing: [...standing].sort(), announced };
  };
}

test(
  'after a promotion every reader has what a run without the fault gives, and a second comparison finds nothing',
  { timeout },
  async (t) => {
    const webhooks = traffic(600);
    const never = await Live.create(t);
    const neverHas = await readersOf(never);
    await never.append(webhooks);
    await never.run();
    const expected = await neverHas();

    const live = await Live.create(t);
    const { application } = live;
    const has = await readersOf(live);
    const generations = await openGenerations(application);
    await live.append(webhooks);
    const old = instance(application, 0, 'a', { plant: ['tenfold'] });
    await old.running();
    await application.drained();
    const planted = [...(await faultless(application)).values()]
      .filter(({ device_type, hrv }) => device_type === 'oura' && hrv !== null)
      .map(({ raw: { topic, partition, offset } }) => `${topic}:${partition}:${offset}`)
      .sort();
    assert.ok(planted.length > 10);
    const folder = await mkdtemp(join(tmpdir(), 'bridge-generations-'));
    t.after(() => rm(folder, { recursive: true }));
    await live.report(3, '--out', join(folder, 'diff.jsonl'));
    const lines = linesOf(await readFile(join(folder, 'diff.jsonl'), 'utf8'));
    const told = lines.filter((line) => line.class !== 'superseded' && line.class !== 'baseline_only');
    assert.deepEqual(told.map(({ raw }) => raw).sort(), planted);

    await prepare(application, 1);
    const candidate = instance(application, 1, 'a');
    const status = await until(
      'the candidate to have processed everything',
      async () => {
        const last = await readStatus(generations);
        const { candidate: one } = last;
        return one?.seeded_tasks === one?.tasks && one?.lag === 0 && one.instances > 0 ? last : undefined;
      },
      60_000,
    );
    assert.equal(status.candidate?.differences?.changed, planted.length);
    await promoteTo(generations, 1);
    await settled(generations, 1);
    const read = await readEvents(application);
    const corrected = read
      .filter(({ record }) => record.headers['correction'] !== undefined)
      .map(({ event: { raw } }) => `${raw.topic}:${raw.partition}:${raw.offset}`)
      .sort();
    assert.deepEqual(corrected, planted);
    compareWithFaultless(read, await faultless(application));
    const second = await live.report(0);
    assert.equal(second.differences, 0);
    const now = await has();
    assert.deepEqual(now.rows, expected.rows);
    assert.deepEqual(now.standing, expected.standing);
    assert.equal(new Set(now.announced).size, now.announced.length);
    report(t, {
      corrections: planted.length,
      resources: now.rows.length,
      alerts: now.standing.length,
      withdrawn: now.announced.length - now.standing.length,
    });
    await candidate.stop();
    await old.stop();
  },
);
