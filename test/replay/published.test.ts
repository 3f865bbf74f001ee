import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { Deployment } from '../../replay/deployment.ts';
import { PublishedOutputs, type Aside, type Published } from '../../replay/published.ts';
import { createEncoder } from '../../schemas/codec.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { errorHeader } from '../../streams/index.ts';
import { controlSpec } from '../../topology/control.ts';
import { lookUpSchemas } from '../../topology/instance.ts';
import { createTopics } from '../../kafka/topics.ts';
import { registryUrl } from '../faults/application.ts';
import { anEvent } from '../schemas/events.ts';
import { silentLog } from '../streams/log.ts';
import type { Appended } from '../streams/broker/cluster.ts';
import { Live } from './live.ts';

const timeout = 60_000;

interface Written {
  readonly offset: number;
  readonly priority?: 'HIGH' | 'NORMAL';
  readonly device?: 'oura' | 'whoop';
  readonly generation?: number;
  readonly correction?: string;
}

/** Opens a deployment whose output topics hold what `written` says, and no more. */
async function opened(
  t: TestContext,
  written: readonly (Written | Appended)[],
  { generation = 0 } = {},
): Promise<{ live: Live; deployment: Deployment; letter: (offset: number) => Appended }> {
  const live = await Live.create(t, 1);
  const { names, cluster, applicationId } = live.application;
  const ids = await lookUpSchemas(schemaRegistry({ SCHEMA_REGISTRY_URL: registryUrl() }), names);
  const encode = createEncoder(ids.NORMAL);
  const letter = (offset: number): Appended => ({
    topic: names.deadLetters,
    value: Buffer.from('{'),
    headers: {
      [errorHeader.topic]: Buffer.from(names.raw.oura),
      [errorHeader.partition]: Buffer.from('0'),
      [errorHeader.offset]: Buffer.from(String(offset)),
    },
  });
  for (const one of written) {
    if ('topic' in one) {
      await cluster.append([one]);
      continue;
    }
    const { offset, priority = 'NORMAL', device = 'oura', correction } = one;
    const raw = { topic: names.raw[device], partition: 0, offset };
    await cluster.append([
      {
        topic: names.priority[priority],
        value: encode(anEvent({ raw, device_type: device, generation: one.generation ?? 0 })),
        headers: {
          generation: Buffer.from(String(one.generation ?? 0)),
          ...(correction === undefined ? {} : { correction: Buffer.from(correction) }),
        },
      },
    ]);
  }
  if (generation > 0) {
    await createTopics(cluster.admin, [controlSpec(applicationId)], { partitions: 1, replicationFactor: 1 });
    const promotion = { type: 'live', generation, from: 0, at: 1, cut: {}, build: '', announce: true };
    const value = Buffer.from(JSON.stringify({ ...promotion, removeUnreadable: false }));
    await cluster.append([
      { topic: controlSpec(applicationId).name, key: Buffer.from(String(generation)), value },
    ]);
  }
  const deployment = await Deployment.open(live.config, { clientId: 'test', log: silentLog });
  cluster.after(() => deployment.close());
  return { live, deployment, letter };
}

async function outputs(deployment: Deployment, aside: Aside[] = []): Promise<PublishedOutputs> {
  const [raw] = deployment.rawPartitions(['oura']);
  return PublishedOutputs.open(deployment, raw!, { onAside: (one) => aside.push(one) });
}

const told = (all: readonly Published[]): string[] =>
  all.map(({ topic, offset, generation, correction }) =>
    [topic.split('.').at(-1), offset, generation, correction ?? ''].join(' ').trim(),
  );

test(
  'outputs are found by raw offset, over all output topics and between those of other devices',
  { timeout },
  async (t) => {
    const { deployment, letter, live } = await opened(t, [
      { offset: 0 },
      { offset: 0, device: 'whoop' },
      { offset: 2, priority: 'HIGH' },
      { offset: 2 },
      { offset: 2 },
      { offset: 7, device: 'whoop' },
      { offset: 3 },
    ]);
    await live.application.cluster.append([letter(1), letter(3)]);
    const aside: Aside[] = [];
    const published = await outputs(deployment, aside);
    const found = [];
    for (let offset = 0n; offset < 5n; offset += 1n) found.push(told(await published.of(offset)));
    await published.finish(5n);
    assert.deepEqual(found, [
      ['normal 0 0'],
      ['dlq 0 0'],
      ['high 0 0', 'normal 2 0', 'normal 3 0'],
      ['normal 5 0', 'dlq 1 0'],
      [],
    ]);
    assert.deepEqual(aside, []);
    assert.equal(published.completeFromMs, -Infinity);
  },
);

test(
  'outputs that are out of order, of records that are not there, or no outputs at all are put aside',
  { timeout },
  async (t) => {
    const { deployment, live } = await opened(t, [
      { offset: 1 },
      { offset: 3 },
      { offset: 2 },
      { offset: 4 },
      { offset: 9 },
    ]);
    const { names, cluster } = live.application;
    await cluster.append([
      { topic: names.priority.HIGH, value: Buffer.from(`no event of ${names.raw.oura}`) },
    ]);
    const aside: Aside[] = [];
    const published = await outputs(deployment, aside);
    assert.deepEqual(told(await published.of(1n)), ['normal 0 0']);
    assert.deepEqual(told(await published.of(4n)), ['normal 3 0']);
    await published.finish(9n);
    assert.deepEqual(
      aside.map((one) => [one.why, one.why === 'unreadable' ? '' : one.published.rawOffset]).sort(),
      [
        ['not_asked', 3n],
        ['out_of_order', 2n],
        ['unreadable', ''],
      ],
    );
  },
);

test('corrections are found with what they correct', { timeout }, async (t) => {
  const { deployment } = await opened(
    t,
    [
      { offset: 0 },
      { offset: 1 },
      { offset: 2 },
      { offset: 1, generation: 1, correction: 'changed' },
      { offset: 3, generation: 1 },
      { offset: 2, generation: 1, correction: 'added' },
      { offset: 0, generation: 1, correction: 'removed' },
      { offset: 4, generation: 1 },
      { offset: 2, generation: 2, correction: 'changed' },
    ],
    { generation: 2 },
  );
  assert.equal(deployment.generation, 2);
  const aside: Aside[] = [];
  const published = await outputs(deployment, aside);
  const found = [];
  for (let offset = 0n; offset < 5n; offset += 1n) found.push(told(await published.of(offset)));
  await published.finish(5n);
  assert.deepEqual(found, [
    ['normal 0 0', 'normal 6 1 removed'],
    ['normal 1 0', 'normal 3 1 changed'],
    ['normal 2 0', 'normal 5 1 added', 'normal 8 2 changed'],
    ['normal 4 1'],
    ['normal 7 1'],
  ]);
  assert.deepEqual(aside, []);
});
