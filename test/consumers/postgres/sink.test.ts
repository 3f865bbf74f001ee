import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createEncoder } from '../../../schemas/codec.ts';
import { anEvent } from '../../schemas/events.ts';
import { KafkaProxy } from '../../faults/tcp-proxy.ts';
import { page, sinkStack, until, type SinkStack } from './harness.ts';

describe('a sink on a real broker, registry and database', { timeout: 120_000 }, () => {
  let stack: SinkStack;
  before(async () => {
    stack = await sinkStack();
  });
  after(() => stack.close());

  test('it migrates first, stores the events of all three topics, and commits what it stored', async () => {
    const sink = await stack.sink();
    const events = (['HIGH', 'MEDIUM', 'NORMAL'] as const).flatMap((priority) =>
      [0, 1, 2, 3].map((partition) =>
        anEvent({
          priority,
          resource_id: `${priority}-${partition}`,
          raw: { topic: 'raw.oura', partition, offset: partition },
        }),
      ),
    );
    await stack.send(events);
    await until('all committed', async () => (await stack.lag()) === 0);
    const rows = await stack.database.rows<{ priority: string; count: number }>(
      'SELECT priority, count(*)::integer AS count FROM biometric_events GROUP BY priority ORDER BY priority',
    );
    assert.deepEqual(rows, [
      { priority: 'HIGH', count: 4 },
      { priority: 'MEDIUM', count: 4 },
      { priority: 'NORMAL', count: 4 },
    ]);
    assert.deepEqual(await page(sink, '/readyz'), { status: 200, body: 'ok' });
    assert.deepEqual(await page(sink, '/livez'), { status: 200, body: 'ok' });
    const metrics = (await page(sink, '/metrics')).body;
    assert.match(metrics, /^sink_events_total\{result="inserted"\} 12$/m);
    assert.match(metrics, /^sink_database_up 1$/m);
    await sink.stop();
  });

  test('case 11: a partition whose fetches fail is named by probe, metric and log, and the sink goes on with the others', async () => {
    const proxy = await KafkaProxy.start(stack.env['KAFKA_BOOTSTRAP_SERVERS'] ?? '');
    const mend = proxy.failsFetches(stack.names.priority.HIGH, 1, -1);
    const sink = await stack.sink({ KAFKA_BOOTSTRAP_SERVERS: proxy.address, STALL_MS: '1000' });
    const at = `topic="${stack.names.priority.HIGH}",partition="1",reason="fetches are answered with UNKNOWN"`;
    try {
      await until('the probe', async () => (await page(sink, '/livez')).status === 503);
      assert.match(
        (await page(sink, '/livez')).body,
        new RegExp(`^fetches are answered with UNKNOWN for \\d+ s in ${stack.names.priority.HIGH}-1$`),
      );
      await until('the metric', async () =>
        (await page(sink, '/metrics')).body.includes(`sink_stalled_seconds{${at}}`),
      );
      await until('the log', () =>
        Promise.resolve(
          sink.lines.some((line) => line.includes('nothing moves') && line.includes('UNKNOWN')),
        ),
      );
      await stack.send([
        anEvent({
          priority: 'HIGH',
          resource_id: 'beside-a-failing-partition',
          raw: { topic: 'raw.oura', partition: 2, offset: 9 },
        }),
      ]);
      await until('committed', async () => (await stack.lag()) === 0);
      mend();
      await until('the probe again', async () => (await page(sink, '/livez')).status === 200);
      await until('no metric', async () => !(await page(sink, '/metrics')).body.includes(at));
    } finally {
      await sink.stop();
      await proxy.close();
    }
  });

  test('after a restart it continues where it stopped', async () => {
    const sink = await stack.sink();
    await stack.send([anEvent({ resource_id: 'after-restart' })]);
    await until('committed', async () => (await stack.lag()) === 0);
    assert.match((await page(sink, '/metrics')).body, /^sink_events_total\{result="inserted"\} 1$/m);
    await sink.stop();
  });

  test('when the offsets are lost, records are read again without any change to the rows', async () => {
    const before = await stack.database.rows('SELECT * FROM biometric_events ORDER BY resource_id');
    await stack.admin.deleteGroups([`${stack.prefix}postgres-sink`]);
    const sink = await stack.sink();
    await until('committed', async () => (await stack.lag()) === 0);
    assert.deepEqual(
      await stack.database.rows('SELECT * FROM biometric_events ORDER BY resource_id'),
      before,
    );
    assert.match((await page(sink, '/metrics')).body, /^sink_events_total\{result="unchanged"\} 14$/m);
    await sink.stop();
  });

  test('records that are not events are set aside with their position and reason, and stop nothing', async () => {
    const sink = await stack.sink();
    const topic = stack.names.priority.NORMAL;
    const offsets = await stack.admin.fetchTopicOffsets(topic);
    const { high } = offsets.find(({ partition }) => partition === 2)!;
    const good = (name: string) => stack.encode(anEvent({ resource_id: name, priority: 'NORMAL' }));
    const values: [Buffer | null, string | undefined][] = [
      [good('poison-before'), undefined],
      [null, 'no_value'],
      [Buffer.from('canary'), 'not_wire_format'],
      [Buffer.from([0, 0, 0]), 'too_short'],
      [good('cut').subarray(0, 40), 'corrupt'],
      [Buffer.concat([good('longer'), Buffer.from('canary')]), 'trailing_bytes'],
      [createEncoder(2_000_000_000)(anEvent({ resource_id: 'canary' })), 'unknown_schema'],
      [stack.encode(anEvent({ user_id: 'canary\0' })), 'nul_in_key'],
      [stack.encode(anEvent({ local_date: 'canary' })), 'refused_by_database'],
      [good('poison-after'), undefined],
    ];
    await stack.producer.send({ topic, messages: values.map(([value]) => ({ value, partition: 2 })) });
    await until('all committed', async () => (await stack.lag()) === 0);
    const expected = values.flatMap(([, reason], index) =>
      reason === undefined
        ? []
        : [{ topic, partition: 2, offset: String(BigInt(high) + BigInt(index)), reason }],
    );
    assert.deepEqual(
      await stack.database.rows(
        'SELECT topic, partition, "offset", reason FROM sink_rejects ORDER BY "offset"',
      ),
      expected,
    );
    assert.deepEqual(
      await stack.database.rows(
        "SELECT resource_id FROM biometric_events WHERE resource_id LIKE 'poison-%' ORDER BY 1",
      ),
      [{ resource_id: 'poison-after' }, { resource_id: 'poison-before' }],
    );
    const metrics = (await page(sink, '/metrics')).body;
    for (const { reason } of expected) {
      assert.match(metrics, new RegExp(`^sink_skipped_records_total\\{reason="${reason}"\\} 1$`, 'm'));
    }
    await sink.stop();
    assert.equal(sink.lines.filter((line) => line.includes('set aside')).length, expected.length);
    assert.ok(!sink.lines.join('').includes('canary'), 'no log line quotes a record');
    assert.ok(!sink.lines.join('').includes('test_user'), 'no log line names a user');
  });

  test('an aborted transaction leaves no row', async () => {
    const sink = await stack.sink();
    const producer = stack.kafka.producer({
      transactionalId: `${stack.prefix}aborting`,
      maxInFlightRequests: 1,
    });
    await producer.connect();
    const record = (name: string) => ({
      topic: stack.names.priority.HIGH,
      messages: [{ value: stack.encode(anEvent({ resource_id: name })), partition: 3 }],
    });
    const aborted = await producer.transaction();
    await aborted.send(record('aborted'));
    await aborted.abort();
    const committed = await producer.transaction();
    await committed.send(record('committed'));
    await committed.commit();
    await producer.disconnect();
    await until('all committed, markers included', async () => (await stack.lag()) === 0);
    const rows = await stack.database.rows(
      "SELECT resource_id FROM biometric_events WHERE resource_id IN ('aborted', 'committed')",
    );
    assert.deepEqual(rows, [{ resource_id: 'committed' }]);
    await sink.stop();
  });
});
