/** Issue 15, case 9: the wall clock steps, by an hour and back; durations must not notice. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { createBreaker } from '../../ingress/breaker.ts';
import { occasionalLog } from '../../process/occasional-log.ts';
import { Progress } from '../../kafka/progress.ts';
import { Cluster } from '../streams/broker/cluster.ts';

const hourMs = 3_600_000;

/** Both clocks, moved by the test: `pass` moves both, as time does; `step` moves only the wall clock. */
function clocks(t: TestContext): { pass(ms: number): void; step(ms: number): void } {
  let [monotonic, wall] = [5_000, Date.parse('2026-11-01T00:00:00Z')];
  t.mock.method(performance, 'now', () => monotonic);
  t.mock.method(Date, 'now', () => wall);
  return {
    pass: (ms) => {
      monotonic += ms;
      wall += ms;
    },
    step: (ms) => {
      wall += ms;
    },
  };
}

for (const [direction, stepMs] of [
  ['back', -hourMs],
  ['forward', hourMs],
] as const) {
  test(`case 9: a wall clock that steps ${direction} neither keeps the breaker open nor closes it early`, async (t) => {
    const clock = clocks(t);
    const breaker = createBreaker({ openMs: 60_000, isAnswer: () => false, isDown: () => true });
    const fails = (): Promise<unknown> => breaker.run(() => Promise.reject(new Error('down')));
    for (let failure = 0; failure < 5; failure += 1) await assert.rejects(fails(), /down/);
    clock.pass(20_000);
    clock.step(stepMs);
    assert.deepEqual([breaker.state, breaker.retryAfterMs()], ['open', 40_000]);
    await assert.rejects(
      breaker.run(() => assert.fail('nothing is sent while it is open')),
      /open/,
    );
    clock.pass(40_000);
    assert.equal(breaker.state, 'half_open');
    assert.equal(await breaker.run(() => Promise.resolve('sent')), 'sent');
    assert.equal(breaker.state, 'closed');
  });

  test(`case 9: a wall clock that steps ${direction} neither silences a warning nor repeats it early`, (t) => {
    const clock = clocks(t);
    const counts: unknown[] = [];
    const warn = occasionalLog(
      { warn: (fields: { count?: number }) => counts.push(fields.count) },
      'refused',
    );
    warn({});
    clock.step(stepMs);
    clock.pass(9_999);
    warn({});
    assert.deepEqual(counts, [1]);
    clock.pass(1);
    warn({});
    assert.deepEqual(counts, [1, 2]);
  });

  test(`case 9: a wall clock that steps ${direction} does not change for how long nothing has moved`, (t) => {
    const clock = clocks(t);
    const progress = new Progress();
    progress.assign([{ topic: 'raw', partition: 0, committed: 5n }]);
    progress.fetched('raw', 0, 9n);
    clock.pass(7_000);
    clock.step(stepMs);
    assert.deepEqual(progress.stalls(7_000), []);
    assert.equal(progress.stalls(6_999)[0]?.stalledMs, 7_000);
  });
}

test('case 9: one trial decides after the pause; calls that come meanwhile follow its outcome', async (t) => {
  const clock = clocks(t);
  const breaker = createBreaker({
    openMs: 1_000,
    failures: 1,
    isAnswer: (error) => String(error) !== 'Error: down',
    isDown: () => true,
  });
  const failing = (): Promise<never> => Promise.reject(new Error('down'));
  await assert.rejects(breaker.run(failing), /down/);
  clock.pass(1_000);
  let sent = 0;
  const send = (): Promise<number> => Promise.resolve((sent += 1));
  await Promise.all([
    assert.rejects(breaker.run(failing), /down/),
    assert.rejects(breaker.run(send), /open/),
  ]);
  assert.equal(sent, 0);
  clock.pass(1_000);
  // An error that does not count says that the broker answers.
  const refused = breaker.run(() => Promise.reject(new Error('too large')));
  await Promise.all([assert.rejects(refused, /too large/), breaker.run(send)]);
  assert.deepEqual([breaker.state, sent], ['closed', 1]);
});

test('case 9: a wall clock that steps while a client is producing fails no request and loses nothing', async (t) => {
  const cluster = await Cluster.open(t);
  const [topic = ''] = await cluster.createTopics(['clock'], { partitions: 1 });
  const producer = cluster.kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  cluster.after(() => producer.disconnect());
  await producer.connect();
  let timeOuts = 0;
  producer.on(producer.events.REQUEST_TIMEOUT, () => (timeOuts += 1));
  const { now } = Date;
  let wall = 0;
  t.mock.method(Date, 'now', () => now() + wall);
  const sent = Array.from({ length: 20 }, (_, at) => `record ${at}`);
  for (const [at, value] of sent.entries()) {
    const acknowledged = producer.send({ topic, messages: [{ value }] });
    for (let turn = 0; turn < at % 5; turn += 1) await nextTurn();
    // A broker refuses what is more than an hour ahead.
    wall += at % 2 === 0 ? hourMs / 2 : -hourMs / 2;
    // As when the machine was suspended: timers fire before the answer is read.
    for (const resumedAt = performance.now() + 120; performance.now() < resumedAt;);
    await acknowledged;
  }
  assert.equal(timeOuts, 0);
  const records = await cluster.read([topic]);
  assert.deepEqual(
    records.map(({ value }) => value?.toString()),
    sent,
  );
});
