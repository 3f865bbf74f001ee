/** `bridge topics` on a real broker, over topics of its own. Issue 15, case 2: what an operator or a broker set otherwise. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { setOnTopic, topicResource, type Admin } from '../../kafka/client.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { bootstrapServers, Cluster } from '../streams/broker/cluster.ts';
import { until } from '../streams/until.ts';

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

function topics(prefix: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = {
      timeout: 60_000,
      env: {
        PATH: process.env['PATH'],
        KAFKA_BOOTSTRAP_SERVERS: bootstrapServers().join(','),
        TOPIC_PARTITIONS: '2',
        TOPIC_REPLICATION_FACTOR: '1',
        TOPIC_PREFIX: prefix,
        ...env,
      },
    };
    execFile(process.execPath, [bridgeProgram, 'topics', ...args], options, (error, out, err) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err });
    });
  });
}

/** What is set on a topic itself, so that no default of the broker matters. */
async function settingsOf(admin: Admin, topic: string): Promise<Record<string, string>> {
  const resource = { type: topicResource, name: topic };
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [resource] });
  const entries = resources.flatMap(({ configEntries }) => configEntries);
  return Object.fromEntries(
    entries.filter((one) => one.configSource === setOnTopic).map((one) => [one.configName, one.configValue]),
  );
}

/** A prefix of the test's own, and the cluster; the topics under the prefix are deleted afterwards. */
async function deployment(t: TestContext): Promise<{ admin: Admin; prefix: string }> {
  const { admin, after } = await Cluster.open(t);
  const prefix = `topics-${randomUUID().slice(0, 8)}.`;
  after(async () => {
    const mine = (await admin.listTopics()).filter((name) => name.startsWith(prefix));
    await admin.deleteTopics({ topics: mine });
  });
  return { admin, prefix };
}

const day = '86400000';
const anyTimestamp = { 'message.timestamp.after.max.ms': '9223372036854775807' };
const always = {
  'compression.type': 'producer',
  'message.timestamp.type': 'CreateTime',
  'min.insync.replicas': '1',
};
const kept = { ...always, 'cleanup.policy': 'delete', 'retention.ms': '2419200000', 'segment.ms': day };
const raw = { ...kept, 'max.message.bytes': '12582912' };
const high = { ...kept, 'max.message.bytes': '4194304' };
const changelog = {
  ...always,
  'cleanup.policy': 'compact',
  'delete.retention.ms': day,
  'max.compaction.lag.ms': day,
  'max.message.bytes': '4194304',
  'segment.ms': '3600000',
};
const readerDeadLetters = { ...kept, ...anyTimestamp, 'max.message.bytes': '5242880' };

/** The settings of every topic of a deployment with the reader `coach`. */
const designed: Readonly<Record<string, Record<string, string>>> = {
  'raw.oura': raw,
  'raw.whoop': raw,
  'raw.terra': raw,
  'raw.healthkit': raw,
  'raw.test': { ...kept, 'retention.ms': '3600000', 'segment.ms': '3600000', 'max.message.bytes': '69632' },
  'biometric-events.high': high,
  'biometric-events.medium': high,
  'biometric-events.normal': high,
  'biometric-events.dlq': { ...kept, ...anyTimestamp, 'max.message.bytes': '16777216' },
  'biometric-bridge-alerts-changelog': changelog,
  'biometric-bridge-baselines-changelog': changelog,
  'biometric-bridge-generations': {
    'cleanup.policy': 'compact',
    'max.message.bytes': '1048576',
    'message.timestamp.type': 'CreateTime',
    'min.insync.replicas': '1',
  },
  'biometric-bridge-points-changelog': changelog,
  'biometric-bridge-revisions-changelog': changelog,
  'coach.dlq': readerDeadLetters,
};

test('topics are created as the design has them, and what is set otherwise is reported and changed', async (t) => {
  const { admin, prefix } = await deployment(t);
  const settings = (topic: string): Promise<Record<string, string>> => settingsOf(admin, `${prefix}${topic}`);
  const missing = await topics(prefix, ['--check']);
  assert.equal(missing.code, 1);
  assert.match(missing.err, /raw\.oura does not exist.*create missing ones with `bridge topics`/);

  const created = await topics(prefix, ['--reader', 'coach']);
  assert.deepEqual([created.code, created.err], [0, '']);
  assert.match(created.out, /^created {2}topics-.*\.raw\.oura\n/);
  const mine = (await admin.listTopics()).filter((name) => name.startsWith(prefix));
  assert.deepEqual(
    Object.fromEntries(
      await Promise.all(
        mine.map(async (name) => [name.slice(prefix.length), await settingsOf(admin, name)] as const),
      ),
    ),
    designed,
  );
  const unchanged = await topics(prefix, ['--check']);
  assert.deepEqual([unchanged.code, unchanged.err], [0, '']);
  assert.match(unchanged.out, /^(present {2}\S+\n)+$/);
  assert.doesNotMatch(unchanged.out, /coach/);

  // As an operator leaves them who saves disk, and as an older build created them.
  const set = (topic: string, values: Record<string, string>) => ({
    type: topicResource,
    name: `${prefix}${topic}`,
    configEntries: Object.entries(values).map(([name, value]) => ({ name, value })),
  });
  const otherHigh = { ...high, 'retention.ms': '604800000', 'retention.bytes': '1073741824' };
  const otherChangelog = { ...changelog, 'message.timestamp.type': 'LogAppendTime' };
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      set('raw.oura', { 'compression.type': 'zstd', 'segment.bytes': '536870912' }),
      set('biometric-events.high', otherHigh),
      set('biometric-bridge-revisions-changelog', otherChangelog),
    ],
  });
  await until('the changed settings', async () =>
    (await settings('biometric-bridge-revisions-changelog'))['message.timestamp.type'] === 'LogAppendTime'
      ? true
      : undefined,
  );
  const different = await topics(prefix, ['--check']);
  assert.equal(different.code, 1);
  assert.match(different.err, /^bridge topics: `bridge topics --apply` changes settings\n$/);
  const lines = different.out.split('\n').filter((line) => line.startsWith('differs'));
  assert.deepEqual(lines.sort(), [
    `differs  ${prefix}biometric-bridge-revisions-changelog: message.timestamp.type is LogAppendTime, should be CreateTime`,
    `differs  ${prefix}biometric-events.high: retention.ms is 604800000, should be 2419200000`,
    // The others of the topic's own settings are now those of the broker.
    `differs  ${prefix}raw.oura: compression.type is zstd, should be producer`,
    `differs  ${prefix}raw.oura: max.message.bytes is 1048588, should be 12582912`,
    `differs  ${prefix}raw.oura: retention.ms is 604800000, should be 2419200000`,
    `differs  ${prefix}raw.oura: segment.ms is 604800000, should be 86400000`,
  ]);
  const only = await topics(prefix, []);
  assert.equal(only.code, 0, 'creating succeeds, and shows what differs');
  assert.equal(only.out, different.out);

  const applied = await topics(prefix, ['--apply']);
  assert.deepEqual([applied.code, applied.err], [0, '']);
  assert.match(applied.out, /changed {2}\S+\.raw\.oura: compression\.type was zstd, is producer\n/);
  assert.deepEqual(await settings('biometric-events.high'), { ...high, 'retention.bytes': '1073741824' });
  assert.deepEqual(await settings('biometric-bridge-revisions-changelog'), changelog);
  const oura = await settings('raw.oura');
  assert.deepEqual([oura['segment.bytes'], oura['compression.type']], ['536870912', 'producer']);
  assert.deepEqual([oura['segment.ms'], oura['retention.ms']], [day, '2419200000']);
  assert.equal((await topics(prefix, ['--check'])).code, 0);

  const three = { TOPIC_REPLICATION_FACTOR: '3' };
  const replicas = await topics(prefix, ['--check'], three);
  assert.equal(replicas.code, 1);
  assert.match(replicas.out, /differs {2}\S+\.raw\.oura: replication factor is 1, should be 3\n/);
  assert.match(replicas.out, /differs {2}\S+\.raw\.oura: min\.insync\.replicas is 1, should be 2\n/);
  assert.match(replicas.err, /kafka-reassign-partitions\.sh/);
  const counted = await topics(prefix, ['--apply'], { TOPIC_PARTITIONS: '3' });
  assert.equal(counted.code, 1);
  assert.match(counted.err, /raw\.oura has 2 partitions/);
});

test('the dead letters of a reader are created, checked and changed when it is named', async (t) => {
  const { admin, prefix } = await deployment(t);
  assert.equal((await topics(prefix, [])).code, 0);
  const missing = await topics(prefix, ['--check', '--reader', 'coach']);
  assert.equal(missing.code, 1);
  assert.match(missing.err, /topics-.*\.coach\.dlq does not exist; create missing ones with `bridge topics`/);
  const created = await topics(prefix, ['--reader', 'coach']);
  assert.deepEqual([created.code, created.err], [0, '']);
  assert.match(created.out, /created {2}\S+\.coach\.dlq\n$/);

  const name = `${prefix}coach.dlq`;
  const other = { ...readerDeadLetters, 'segment.ms': '604800000', 'max.message.bytes': '1048576' };
  const configEntries = Object.entries(other).map(([setting, value]) => ({ name: setting, value }));
  await admin.alterConfigs({
    validateOnly: false,
    resources: [{ type: topicResource, name, configEntries }],
  });
  await until('the changed settings', async () =>
    (await settingsOf(admin, name))['segment.ms'] === '604800000' ? true : undefined,
  );
  assert.equal((await topics(prefix, ['--check'])).code, 0, 'only asked for by its name');
  const different = await topics(prefix, ['--check', '--reader', 'coach']);
  assert.equal(different.code, 1);
  assert.deepEqual(
    different.out.split('\n').filter((line) => line.startsWith('differs')),
    [
      `differs  ${name}: max.message.bytes is 1048576, should be 5242880`,
      `differs  ${name}: segment.ms is 604800000, should be 86400000`,
    ],
  );
  assert.equal((await topics(prefix, ['--apply', '--reader', 'coach'])).code, 0);
  assert.deepEqual(await settingsOf(admin, name), readerDeadLetters);
});

test('a name that no reader can have is a usage fault', async () => {
  for (const [name, fault] of [
    ['', /must not be empty/],
    ['a b', /may hold letters, digits, dots, underscores and dashes/],
    ['biometric-events', /biometric-events\.dlq is a topic of the bridge itself/],
  ] as const) {
    const { code, err } = await topics('', ['--reader', name]);
    assert.equal(code, 2, name);
    assert.match(err, fault);
  }
});

test('checking and applying exclude each other', async () => {
  const { code, err } = await topics('', ['--check', '--apply']);
  assert.equal(code, 2);
  assert.match(err, /'--apply' cannot be used with option '--check'/);
});
