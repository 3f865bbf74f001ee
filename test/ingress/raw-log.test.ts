import assert from 'node:assert/strict';
import { test } from 'node:test';
import { brokerError, deadlineMs, fakeCluster, KiB, rawLog, record } from './fake-brokers.ts';
import { until } from './harness.ts';

test('the first record is sent at once, and those that arrive meanwhile share the next send', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const first = log.append(record('a'), { deadlineMs });
  const send = await cluster.send(0);
  const others = ['b', 'c', 'd'].map((mark) => log.append(record(mark), { deadlineMs }));
  assert.deepEqual(send.records, ['raw:0:a']);
  send.acknowledge();
  assert.equal(await first, 'acknowledged');
  const second = await cluster.send(1);
  assert.deepEqual(second.records, ['raw:0:b', 'raw:0:c', 'raw:0:d']);
  second.acknowledge();
  assert.deepEqual(await Promise.all(others), ['acknowledged', 'acknowledged', 'acknowledged']);
  assert.equal(cluster.state.mostInFlight, 1);
  assert.equal(cluster.state.producers, 1);
  await log.close(1_000);
});

test('a send holds at most 1 MiB for a partition and keeps the order within it', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const blocking = log.append(record('x', { partition: 3 }), { deadlineMs });
  const first = await cluster.send(0);
  const rest = [
    ...['a', 'b', 'c', 'd', 'e'].map((mark) => record(mark, { bytes: 300 * KiB })),
    record('f'),
    record('g', { partition: 1 }),
  ].map((each) => log.append(each, { deadlineMs }));
  first.acknowledge();
  const second = await cluster.send(1);
  // The small one could still go with the first three, but it would overtake.
  assert.deepEqual(second.records, ['raw:0:a', 'raw:0:b', 'raw:0:c', 'raw:1:g']);
  assert.ok(second.bytesByPartition.every((bytes) => bytes <= 1024 * KiB));
  second.acknowledge();
  const third = await cluster.send(2);
  assert.deepEqual(third.records, ['raw:0:d', 'raw:0:e', 'raw:0:f']);
  third.acknowledge();
  await Promise.all([blocking, ...rest]);
  await log.close(1_000);
});

test('the total size of a send is bounded too', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, {
    limits: { partitionBytes: () => 1024 * KiB, sendBytes: 300 * KiB },
  });
  const appended = [0, 1, 2].map((partition) =>
    log.append(record('a', { partition, bytes: 140 * KiB }), { deadlineMs }),
  );
  (await cluster.send(0)).acknowledge();
  (await cluster.send(1)).acknowledge();
  assert.deepEqual(
    cluster.sends.map(({ records }) => records.length),
    [2, 1],
  );
  await Promise.all(appended);
  await log.close(1_000);
});

test('a large record is sent alone, and small ones of other partitions do not wait for it', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const appended = [
    record('a'),
    record('L', { bytes: 9 * 1024 * KiB }),
    record('b'),
    record('c', { partition: 1 }),
  ].map((each) => log.append(each, { deadlineMs }));
  (await cluster.send(0)).acknowledge();
  (await cluster.send(1)).acknowledge();
  (await cluster.send(2)).acknowledge();
  assert.deepEqual(
    cluster.sends.map(({ records }) => records),
    [['raw:0:a', 'raw:1:c'], ['raw:0:L'], ['raw:0:b']],
  );
  await Promise.all(appended);
  await log.close(1_000);
});

test('after any failed send the producer is replaced, and its records are not sent again', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const lost = log.append(record('a'), { deadlineMs });
  (await cluster.send(0)).fail(brokerError('NOT_ENOUGH_REPLICAS'));
  assert.equal(await lost, 'failed');
  assert.equal(log.healthy, false);
  const next = log.append(record('b'), { deadlineMs });
  const send = await cluster.send(1);
  assert.deepEqual(send.records, ['raw:0:b']);
  send.acknowledge();
  assert.equal(await next, 'acknowledged');
  assert.equal(log.healthy, true);
  assert.equal(cluster.state.producers, 2);
  assert.ok(cluster.state.disconnects >= 1);
  await log.close(1_000);
});

test('a producer that cannot connect is replaced, and its records wait for the next one', async () => {
  let attempts = 0;
  const cluster = fakeCluster({
    connect: () => (++attempts === 1 ? Promise.reject(new Error('refused')) : Promise.resolve()),
  });
  const log = await rawLog(cluster.createProducer);
  const appended = ['a', 'b'].map((mark) => log.append(record(mark), { deadlineMs }));
  const send = await cluster.send(0);
  assert.deepEqual(send.records, ['raw:0:a', 'raw:0:b']);
  send.acknowledge();
  assert.deepEqual(await Promise.all(appended), ['acknowledged', 'acknowledged']);
  assert.equal(attempts, 2);
  await log.close(1_000);
});

test('a record that waited past its deadline is answered and never sent', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const slow = log.append(record('a'), { deadlineMs });
  const send = await cluster.send(0);
  assert.equal(await log.append(record('b'), { deadlineMs: 5 }), 'late');
  const third = log.append(record('c'), { deadlineMs });
  send.acknowledge();
  const second = await cluster.send(1);
  assert.deepEqual(second.records, ['raw:0:c']);
  second.acknowledge();
  assert.deepEqual([await slow, await third], ['acknowledged', 'acknowledged']);
  await log.close(1_000);
});

test('a send without an answer is abandoned at the deadline', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, { ackDeadlineMs: 20 });
  assert.equal(await log.append(record('a'), { deadlineMs: 5_000 }), 'failed');
  assert.equal(cluster.state.producers, 1);
  const next = log.append(record('b'), { deadlineMs });
  (await cluster.send(1)).acknowledge();
  assert.equal(await next, 'acknowledged');
  assert.equal(cluster.state.producers, 2);
  cluster.sends[0]!.acknowledge();
  await log.close(1_000);
});

test('each record of a batch that was refused as too large is tried alone', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const appended = ['a', 'b', 'c'].map((mark) =>
    log.append(record(mark, { bytes: 100 * KiB }), { deadlineMs }),
  );
  const tooLarge = brokerError('MESSAGE_TOO_LARGE', { topic: 'raw', partition: 0 });
  (await cluster.send(0)).fail(tooLarge);
  (await cluster.send(1)).acknowledge();
  (await cluster.send(2)).fail(tooLarge);
  (await cluster.send(3)).acknowledge();
  assert.deepEqual(await Promise.all(appended), ['acknowledged', 'too_large', 'acknowledged']);
  assert.deepEqual(
    cluster.sends.slice(1).map(({ records }) => records),
    [['raw:0:a'], ['raw:0:b'], ['raw:0:c']],
  );
  await log.close(1_000);
});

test('records of other partitions that may be written already are not sent again after a refusal', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const appended = [0, 1, 2].map((partition) => log.append(record('a', { partition }), { deadlineMs }));
  (await cluster.send(0)).fail(brokerError('MESSAGE_TOO_LARGE', { topic: 'raw', partition: 1 }));
  const alone = await cluster.send(1);
  assert.deepEqual(alone.records, ['raw:1:a']);
  alone.acknowledge();
  assert.deepEqual(await Promise.all(appended), ['failed', 'acknowledged', 'failed']);
  await log.close(1_000);
});

test('five failures in a row open the breaker: nothing is sent until a trial, and its success closes it', async () => {
  const cluster = fakeCluster();
  let openings = 0;
  const log = await rawLog(cluster.createProducer, {
    breakerOpenMs: 50,
    onBreakerOpen: () => (openings += 1),
  });
  for (let failed = 0; failed < 5; failed += 1) {
    assert.equal(log.breaker.state, 'closed');
    const appended = log.append(record('a'), { deadlineMs });
    const send = await cluster.send(failed);
    const behind = failed === 4 ? log.append(record('b'), { deadlineMs }) : undefined;
    send.fail(brokerError('REQUEST_TIMED_OUT'));
    assert.equal(await appended, 'failed');
    // What waited behind the fifth failure is not left waiting.
    if (behind !== undefined) assert.equal(await behind, 'breaker_open');
  }
  assert.equal(openings, 1);
  if (log.breaker.state === 'open') {
    assert.equal(await log.append(record('c'), { deadlineMs }), 'breaker_open');
  }
  await until(() => log.breaker.state === 'half_open', 'a trial is due');
  const failedTrial = log.append(record('d'), { deadlineMs });
  (await cluster.send(5)).fail(brokerError('REQUEST_TIMED_OUT'));
  assert.equal(await failedTrial, 'failed');
  assert.equal(openings, 2);
  await until(() => log.breaker.state === 'half_open', 'the next trial is due');
  const trial = log.append(record('e'), { deadlineMs });
  (await cluster.send(6)).acknowledge();
  assert.equal(await trial, 'acknowledged');
  assert.equal(log.breaker.state, 'closed');
  assert.equal(log.breaker.retryAfterMs(), 0);
  await log.close(1_000);
});

test('records that are too large neither open the breaker nor reset its count', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  for (let send = 0; send < 10; send += 1) {
    const appended = log.append(record('a'), { deadlineMs });
    (await cluster.send(send)).fail(brokerError('MESSAGE_TOO_LARGE'));
    assert.equal(await appended, 'too_large');
  }
  assert.equal(log.breaker.state, 'closed');
  assert.equal(log.healthy, true);
  await log.close(1_000);
});

test('closing sends waiting records, refuses new ones, and disconnects', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  const first = log.append(record('a'), { deadlineMs });
  const send = await cluster.send(0);
  const second = log.append(record('b'), { deadlineMs });
  const closed = log.close(5_000);
  assert.equal(await log.append(record('c'), { deadlineMs }), 'stopped');
  send.acknowledge();
  (await cluster.send(1)).acknowledge();
  await closed;
  assert.deepEqual([await first, await second], ['acknowledged', 'acknowledged']);
  assert.ok(cluster.state.disconnects >= 1);
});

test('closing abandons sends that the broker does not answer', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, { ackDeadlineMs: 50 });
  const first = log.append(record('a'), { deadlineMs });
  await cluster.send(0);
  const second = log.append(record('b'), { deadlineMs });
  await log.close(5);
  assert.equal(await second, 'stopped');
  assert.equal(await first, 'failed');
  cluster.sends[0]!.acknowledge();
});
