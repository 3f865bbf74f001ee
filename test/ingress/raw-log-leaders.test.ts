import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deadlineMs, brokerError, fakeCluster, ledBy, rawLog, record } from './fake-brokers.ts';
import { until } from './harness.ts';

test('case 14: a broker that does not answer holds up only what it leads', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, { leaders: () => Promise.resolve(ledBy(1, 2)) });
  const held = log.append(record('a'), { deadlineMs });
  const first = await cluster.send(0);
  assert.equal(first.broker, 1);
  for (const mark of ['b', 'c']) {
    const appended = log.append(record(mark, { partition: 1 }), { deadlineMs });
    const send = await cluster.send(cluster.sends.length);
    assert.deepEqual([send.broker, send.records], [2, [`raw:1:${mark}`]]);
    send.acknowledge();
    assert.equal(await appended, 'acknowledged');
  }
  first.acknowledge();
  assert.equal(await held, 'acknowledged');
  assert.equal(cluster.state.mostInFlight, 1);
  await log.close(1_000);
});

test('case 14: records go to the new leader in order, after the send that is in flight', async () => {
  const cluster = fakeCluster();
  let leaders = ledBy(1, 2);
  let asked = 0;
  const log = await rawLog(cluster.createProducer, {
    leaders: () => {
      asked += 1;
      return Promise.resolve(leaders);
    },
  });
  const appended = [log.append(record('a'), { deadlineMs })];
  const hanging = await cluster.send(0);
  appended.push(...['b', 'c'].map((mark) => log.append(record(mark), { deadlineMs })));
  leaders = ledBy(2, 2);
  await until(() => asked > 1, 'the leaders are asked for because a send hangs');
  assert.equal(cluster.sends.length, 1);
  hanging.acknowledge();
  const moved = await cluster.send(1);
  assert.deepEqual([moved.broker, moved.records], [2, ['raw:0:b', 'raw:0:c']]);
  moved.acknowledge();
  assert.deepEqual(await Promise.all(appended), ['acknowledged', 'acknowledged', 'acknowledged']);
  await log.close(1_000);
});

test('case 14: records that a dead broker was never sent go to the new leader in time', async () => {
  const cluster = fakeCluster({
    connect: (broker) => (broker === 1 ? Promise.reject(new Error('refused')) : Promise.resolve()),
  });
  let leaders = ledBy(1, 2);
  const log = await rawLog(cluster.createProducer, { leaders: () => Promise.resolve(leaders) });
  const appended = ['a', 'b'].map((mark) => log.append(record(mark), { deadlineMs }));
  await until(() => !log.healthy, 'the broker is found dead');
  leaders = ledBy(2, 2);
  const send = await cluster.send(0);
  assert.deepEqual([send.broker, send.records], [2, ['raw:0:a', 'raw:0:b']]);
  send.acknowledge();
  assert.deepEqual(await Promise.all(appended), ['acknowledged', 'acknowledged']);
  assert.equal(log.healthy, true, 'the dead broker leads nothing any more');
  await log.close(1_000);
});

test('case 14: one dead broker of several does not open the breaker, and all of them do', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, { leaders: () => Promise.resolve(ledBy(1, 2)) });
  const fail = async (partition: number): Promise<void> => {
    const appended = log.append(record('a', { partition }), { deadlineMs });
    (await cluster.send(cluster.sends.length)).fail(brokerError('REQUEST_TIMED_OUT'));
    assert.equal(await appended, 'failed');
  };
  for (let failed = 0; failed < 10; failed += 1) await fail(0);
  assert.equal(log.breaker.state, 'closed');
  for (let failed = 0; failed < 5; failed += 1) await fail(1);
  assert.notEqual(log.breaker.state, 'closed');
  await log.close(1_000);
});

test('case 14: the trial comes as soon as every partition has a leader', async () => {
  const cluster = fakeCluster();
  let leaders: () => Promise<ReturnType<typeof ledBy>> = () => Promise.resolve(ledBy(1, 1));
  const log = await rawLog(cluster.createProducer, { leaders: () => leaders() });
  let asked = 0;
  leaders = () => {
    asked += 1;
    return Promise.resolve(ledBy(1, -1));
  };
  for (let failed = 0; failed < 5; failed += 1) {
    const appended = log.append(record('a'), { deadlineMs });
    (await cluster.send(failed)).fail(brokerError('REQUEST_TIMED_OUT'));
    assert.equal(await appended, 'failed');
  }
  assert.equal(log.breaker.state, 'open');
  const before = asked;
  await until(() => asked > before + 1, 'the leaders are asked for');
  assert.equal(log.breaker.state, 'open');
  leaders = () => Promise.resolve(ledBy(1, 2));
  await until(() => log.breaker.state === 'half_open', 'a trial is due');
  const trial = log.append(record('b'), { deadlineMs });
  (await cluster.send(5)).acknowledge();
  assert.equal(await trial, 'acknowledged');
  assert.equal(log.breaker.state, 'closed');
  await log.close(1_000);
});

test('case 14: partitions without a leader do not wait for each other in one send', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer, { leaders: () => Promise.resolve(ledBy(-1, -1)) });
  const appended = [0, 1, 0].map((partition) => log.append(record('a', { partition }), { deadlineMs }));
  const send = await cluster.send(0);
  assert.deepEqual(send.records, ['raw:0:a', 'raw:0:a']);
  send.acknowledge();
  (await cluster.send(1)).acknowledge();
  await Promise.all(appended);
  await log.close(1_000);
});

test('case 14: a record that waits for a broker without an answer says so, and 1,000 at most wait', async () => {
  const cluster = fakeCluster();
  const log = await rawLog(cluster.createProducer);
  let heldUp = 0;
  const onHeldUp = (): void => void (heldUp += 1);
  const append = (): Promise<string> => log.append(record('a'), { deadlineMs, onHeldUp });
  const appended = [append()];
  const hanging = await cluster.send(0);
  appended.push(append());
  assert.equal(heldUp, 0);
  await until(() => heldUp === 2, 'both are told');
  while (appended.length < 1_000) appended.push(append());
  assert.equal(heldUp, 1_000);
  assert.equal(await append(), 'failed');
  hanging.acknowledge();
  (await cluster.send(1)).acknowledge();
  assert.ok((await Promise.all(appended)).every((outcome) => outcome === 'acknowledged'));
  const next = log.append(record('a'), { deadlineMs, onHeldUp });
  (await cluster.send(2)).acknowledge();
  assert.equal(await next, 'acknowledged');
  assert.equal(heldUp, 1_000);
  await log.close(1_000);
});
