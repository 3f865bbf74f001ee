/** Issue 15, cases 9 and 13: the timers of a connection's requests. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { until } from '../streams/until.ts';
import { collectingLogger, RequestQueue } from './kafkajs-internals.ts';

const hourMs = 3_600_000;

/** A queue whose requests go nowhere; `asked` has the state of each by its correlation id. */
function requestQueue(t: TestContext, options: { maxInFlightRequests?: number; requestTimeout?: number } = {}) {
  const queue = new RequestQueue({
    maxInFlightRequests: options.maxInFlightRequests ?? null,
    requestTimeout: options.requestTimeout ?? 30_000,
    enforceRequestTimeout: true,
    clientId: 'test',
    broker: 'test:1',
    logger: collectingLogger(),
  });
  t.after(() => queue.destroy());
  const asked: string[] = [];
  return {
    queue,
    asked,
    push(correlationId: number): void {
      asked[correlationId] = 'waits';
      queue.push({
        entry: {
          correlationId,
          resolve: () => (asked[correlationId] = 'answered'),
          reject: ({ name }) => (asked[correlationId] = name),
        },
        expectResponse: true,
        sendRequest: () => (asked[correlationId] = 'sent'),
      });
    },
    answer: (correlationId: number) =>
      queue.fulfillRequest({ correlationId, payload: Buffer.alloc(0), size: 0 }),
  };
}

/** Moves the wall clock from now on. */
function stepWallClock(t: TestContext, ms: number): void {
  const { now } = Date;
  t.mock.method(Date, 'now', () => now() + ms);
}

test('case 13: a connection without waiting requests sets no timer, and none has a negative delay', async (t) => {
  const delays: unknown[] = [];
  const real = setTimeout;
  t.mock.method(globalThis, 'setTimeout', (work: () => void, ms?: number) => {
    delays.push(ms);
    return real(work, ms);
  });
  const { push, answer, asked } = requestQueue(t, { maxInFlightRequests: 1 });
  push(0);
  answer(0);
  // Longer than the endless chain of timers needs for its next link.
  await new Promise((resolve) => real(resolve, 20));
  assert.deepEqual(delays, []);
  push(1);
  push(2);
  assert.deepEqual([delays, asked], [[10], ['answered', 'sent', 'waits']]);
  answer(1);
  assert.deepEqual(asked, ['answered', 'answered', 'sent']);
});

for (const [direction, stepMs] of [
  ['back', -hourMs],
  ['forward', hourMs],
] as const) {
  test(`case 9: a wall clock that steps ${direction} does not change when an unanswered request fails`, async (t) => {
    const { queue, push, asked } = requestQueue(t, { requestTimeout: 400 });
    queue.scheduleRequestTimeoutCheck();
    const startedAt = performance.now();
    push(0);
    stepWallClock(t, stepMs);
    await until('the time-out', () => (asked[0] === 'sent' ? undefined : true), 5_000);
    assert.equal(asked[0], 'KafkaJSRequestTimeoutError');
    assert.ok(performance.now() - startedAt >= 400);
  });

  test(`case 9: a wall clock that steps ${direction} does not change how long a broker throttles`, async (t) => {
    const { queue, push, asked } = requestQueue(t);
    const startedAt = performance.now();
    queue.maybeThrottle(200);
    stepWallClock(t, stepMs);
    push(0);
    assert.equal(asked[0], 'waits');
    await until('the end of the throttling', () => (asked[0] === 'sent' ? true : undefined), 5_000);
    assert.ok(performance.now() - startedAt >= 199);
  });
}
