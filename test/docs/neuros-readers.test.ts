import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { NeurosTestDriver, type Alert, type BiometricEvent } from '../../consumers/neuros/index.ts';
import { samples } from '../../consumers/neuros/samples/index.ts';
import { avroType } from '../../schemas/avro.ts';
import { biometricEventAvsc } from '../../schemas/biometric-event.ts';
import { subjectOf } from '../../schemas/contract.ts';
import { schemaRegistry } from '../../schemas/registry.ts';
import { neurosStack, type NeurosStack } from '../consumers/neuros/harness.ts';
import { partitions, until } from '../consumers/priority-stack.ts';
import { anEvent } from '../schemas/events.ts';
import { javaReader, nodeReader, pythonReader, startReader, type RunningReader } from './readers.ts';

// The readers of examples/ print the same for the same events. What they must print is what a test driver makes of them.

const alert = anEvent().triggers[0]!;
let sentinels = 0;

/** An event behind all others of each partition: a reader that goes one by one has handled what was sent before them. */
function sentinelsOf(stage: string): BiometricEvent[] {
  return (['HIGH', 'MEDIUM', 'NORMAL'] as const).flatMap((priority) =>
    Array.from({ length: partitions }, (_, partition) => {
      const id = `${stage}-${(sentinels += 1)}`;
      return anEvent({
        ...{ event_id: id, user_id: id, resource_id: id, priority },
        triggers: [{ ...alert, alert_id: `sentinel-${id}` }],
        raw: { topic: 'raw.oura', partition, offset: sentinels },
      });
    }),
  );
}

/** What the readers say of these events. */
async function said(events: readonly BiometricEvent[]): Promise<string[]> {
  const lines: string[] = [];
  const say = (what: string, { alert_id }: Alert, { user_id, device_type }: BiometricEvent): void =>
    void lines.push(`${what} ${alert_id}  to ${user_id} (${device_type})`);
  const driver = new NeurosTestDriver({
    onAlert: (one, { event }) => say('announced', one, event),
    onWithdrawn: (one, { event }) => say('withdrawn', one, event),
  });
  await driver.pipe(...events);
  return lines;
}

function withoutAdvice(lines: readonly string[]): string[] {
  return lines
    .filter((line) => !line.includes('sentinel-'))
    .map((line) => line.split(': ')[0] ?? '')
    .sort();
}

describe('the readers in TypeScript, Python and Java', { timeout: 180_000 }, () => {
  const readers = new Map<string, RunningReader>();
  let stack: NeurosStack;
  before(async () => {
    stack = await neurosStack();
    const python = await pythonReader();
    if (python === undefined)
      process.stdout.write('SKIPPED: examples/neuros.py is not run, because python3 is not installed\n');
    const programs = {
      'neuros.ts': nodeReader,
      'neuros.py': python,
      'NeurosReader.java': await javaReader(),
    };
    for (const [name, program] of Object.entries(programs))
      if (program !== undefined)
        readers.set(
          name,
          startReader(program, {
            KAFKA_BOOTSTRAP_SERVERS: stack.brokers.join(','),
            SCHEMA_REGISTRY_URL: stack.registryUrl,
            TOPIC_PREFIX: stack.prefix,
          }),
        );
  });
  after(async () => {
    await Promise.all([...readers.values()].map((reader) => reader.stop()));
    await stack.close();
  });

  /** What was sent, however often. */
  const sent = new Set<string>();
  async function send(events: readonly BiometricEvent[]): Promise<void> {
    for (const { device_type, user_id, event_id, generation } of events)
      sent.add(JSON.stringify([device_type, user_id, event_id, generation]));
    await stack.send(events);
  }

  async function handled(stage: string): Promise<void> {
    await send(sentinelsOf(stage));
    const expected = 3 * partitions;
    for (const [name, reader] of readers) {
      const isDone = (): boolean =>
        reader.lines.filter((line) => line.includes(`sentinel-${stage}-`)).length >= expected;
      await until(`${name} has handled ${stage}`, () => {
        assert.ok(!reader.hasEnded(), `${name} ended: ${reader.errors()}`);
        return isDone();
      });
    }
    // Users next to each other: what it has handled without a gap is what it has committed.
    await until('neuros.ts has committed all', async () => {
      const lags = (['HIGH', 'MEDIUM', 'NORMAL'] as const).map((priority) =>
        stack.lag(`${stack.prefix}neuros-${priority.toLowerCase()}`, [stack.names.priority[priority]]),
      );
      return (await Promise.all(lags)).every((lag) => lag === 0);
    });
  }

  async function assertSaid(events: readonly BiometricEvent[]): Promise<void> {
    const expected = withoutAdvice(await said(events));
    for (const [name, reader] of readers) assert.deepEqual(withoutAdvice(reader.lines), expected, name);
  }

  const events = samples.map(({ event }) => event);
  const versions = events.filter(({ supersedes }) => supersedes === null);
  const corrections = events.filter(({ supersedes }) => supersedes !== null);
  const raised = events.find(({ user_id, triggers }) => user_id === 'athlete-42' && triggers.length === 2)!;
  const raisedIds = raised.triggers.map(({ alert_id }) => alert_id);
  const newer = { ...raised, revision: raised.revision + 1_000 };

  test('announce an alert once, whatever comes twice or is stale, and skip what is no event', async () => {
    const topic = stack.names.priority.HIGH;
    const unknown = Buffer.concat([Buffer.of(0, 0x7f, 0xff, 0xff, 0xff), Buffer.from('abc')]);
    await stack.producer.send({
      topic,
      messages: [Buffer.from('{"hrv":20}'), unknown, stack.encode(raised).subarray(0, 30)].map((value) => ({
        ...{ key: 'poison', value, partition: raised.raw.partition },
      })),
    });
    await send(versions);
    await send(versions);
    await handled('versions');
    const announced = await said(versions);
    assert.ok(announced.length >= 8);
    assert.ok(versions.flatMap(({ triggers }) => triggers).length > announced.length, 'some come twice');
    await assertSaid([...versions, ...versions]);
    for (const [name, reader] of readers)
      assert.match(
        reader.errors(),
        name === 'neuros.ts'
          ? /unknown_schema/
          : /skipped \S+high-0@0: not_wire_format\r?\nskipped \S+@1: unknown_schema\r?\nskipped \S+@2: \w+/,
        name,
      );
  });

  test('withdraw what no version raises any more, and what another resource raises stands', async () => {
    await send(corrections);
    await handled('corrections');
    const lines = await said([...versions, ...corrections]);
    assert.ok(lines.some((line) => line.startsWith('withdrawn')));
    await assertSaid([...versions, ...corrections]);
  });

  test('announce an alert again that is raised again, and believe no version that is older than one they have read', async () => {
    const { revision, event_id, priority } = raised;
    const gone: BiometricEvent = {
      ...{ ...newer, event_id: 'gone', priority: 'NORMAL', triggers: [] },
      supersedes: { event_id, priority, alert_ids: raisedIds },
    };
    const late: BiometricEvent = {
      ...raised,
      event_id: 'late',
      revision: revision + 500,
      priority: 'MEDIUM',
    };
    const again: BiometricEvent = {
      ...{ ...raised, event_id: 'again', revision: gone.revision + 1 },
      triggers: raised.triggers.map((one) => ({ ...one, first: false })),
      supersedes: { event_id: gone.event_id, priority: gone.priority, alert_ids: [] },
    };
    const recomputed: BiometricEvent = { ...gone, event_id: 'recomputed', generation: 1, revision: 0 };
    const steps = [gone, late, again, recomputed];
    const before = [...versions, ...corrections];
    for (const [at, step] of steps.entries()) {
      await send([step]);
      await handled(`step-${at}`);
      await assertSaid([...before, ...steps.slice(0, at + 1)]);
    }
    const last = (await said([...before, ...steps])).slice(-6);
    const expected = ['withdrawn', 'announced', 'withdrawn'].flatMap((what) => [what, what]);
    assert.deepEqual(
      last.map((line) => line.split(' ')[0]),
      expected,
    );
  });

  test('read what a newer contract wrote: fields that they do not know are left out, symbols become the default', async () => {
    const contract = JSON.parse(biometricEventAvsc) as {
      fields: { name: string; type: { symbols?: string[] } | string; default?: unknown }[];
    };
    for (const { name, type } of contract.fields)
      if (name === 'device_type' && typeof type === 'object') type.symbols?.push('garmin');
    contract.fields.push({ name: 'altitude_m', type: 'double', default: 0 });
    const avsc = JSON.stringify(contract);
    const topic = stack.names.priority.HIGH;
    const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: stack.registryUrl });
    const id = await registry.register(subjectOf(topic), avsc);
    const front = Buffer.alloc(5);
    front.writeUInt32BE(id, 1);
    const value = avroType(avsc).toBuffer({
      ...anEvent({ user_id: 'of-tomorrow', triggers: [{ ...alert, alert_id: 'of-tomorrow' }] }),
      device_type: 'garmin',
      altitude_m: 520,
    });
    sent.add('of tomorrow');
    const message = { key: 'of-tomorrow', value: Buffer.concat([front, value]), partition: 0 };
    await stack.producer.send({ topic, messages: [message] });
    await handled('tomorrow');
    for (const [name, reader] of readers)
      assert.ok(
        reader.lines.some((line) => line.startsWith('announced of-tomorrow  to of-tomorrow (unknown): ')),
        name,
      );
  });

  test('erase a user for a record without a value', async () => {
    await stack.producer.send({
      topic: stack.names.priority.NORMAL,
      messages: [{ key: 'athlete-42', value: null, partition: 0 }],
    });
    await handled('erasure');
    for (const [name, reader] of readers)
      assert.deepEqual(
        reader.lines.filter((line) => line.startsWith('erased')),
        ['erased athlete-42'],
        name,
      );
  });

  test('have handled each event once when they are stopped, in Python and Java', async () => {
    for (const [name, reader] of readers) {
      await reader.stop();
      if (name !== 'neuros.ts') assert.equal(reader.lines.at(-1), `handled ${sent.size} events`, name);
    }
  });
});
