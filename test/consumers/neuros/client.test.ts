import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  memory,
  NeurosStartError,
  type Alert,
  type NeurosOptions,
  type RecordContext,
} from '../../../consumers/neuros/index.ts';
import type { BiometricEvent, Priority } from '../../../schemas/biometric-event.ts';
import { readCommitted } from '../../kafka/read.ts';
import { headerText } from '../../../schemas/raw-record.ts';
import { anEvent } from '../../schemas/events.ts';
import { partitions, until } from '../priority-stack.ts';
import { neurosStack, type NeurosStack } from './harness.ts';

let stack: NeurosStack;
let offset = 0;

/** An event of its own resource; the partition follows from the user's number. */
function event(user: number, priority: Priority, changes: Partial<BiometricEvent> = {}): BiometricEvent {
  offset += 1;
  return anEvent({
    event_id: `event-${offset}`,
    user_id: `user-${user}`,
    priority,
    triggers: [],
    resource_id: `resource-${offset}`,
    raw: { topic: 'raw.oura', partition: user % partitions, offset },
    ...changes,
  });
}

const trigger = (alert_id: string): Alert => ({ ...anEvent().triggers[0]!, alert_id });

describe('a client on a real broker and registry', () => {
  before(async () => {
    stack = await neurosStack();
  });
  after(() => stack.close());

  it('hands over every event of the three topics, in order for each user, and commits what is done', async () => {
    const sent = Array.from({ length: 600 }, (_, at) =>
      event(at % 20, (['HIGH', 'MEDIUM', 'NORMAL'] as const)[Math.floor(at / 20) % 3]!),
    );
    await stack.send(sent);
    const seen: { event: BiometricEvent; context: RecordContext }[] = [];
    const client = await stack.client({
      onEvent: async (got, context) => {
        await sleep(Math.random() * 5);
        seen.push({ event: got, context });
      },
    });
    await until('all events', () => seen.length >= sent.length);
    assert.deepEqual(
      seen.map(({ event: { event_id } }) => event_id).sort(),
      sent.map((one) => one.event_id).sort(),
    );
    for (const priority of ['HIGH', 'MEDIUM', 'NORMAL']) {
      for (let user = 0; user < 20; user += 1) {
        const of = ({ user_id, priority: its }: BiometricEvent): boolean =>
          user_id === `user-${user}` && its === priority;
        assert.deepEqual(
          seen.filter((one) => of(one.event)).map((one) => one.event.event_id),
          sent.filter(of).map((one) => one.event_id),
        );
      }
    }
    const [first] = seen;
    assert.deepEqual(
      first!.event,
      sent.find(({ event_id }) => event_id === first!.event.event_id),
    );
    assert.equal(first!.context.topic, stack.names.priority[first!.event.priority]);
    await until('the offsets', async () => (await lag()) === 0);
    assert.deepEqual(client.lag(), { HIGH: 0, MEDIUM: 0, NORMAL: 0 });
    assert.equal(client.health().status, 'running');
    assert.deepEqual(client.health().faults, []);
    await client.close();
    assert.equal(client.health().status, 'closed');
  });

  it('goes on after a restart where it was, though later events of other users were done first', async () => {
    const slow = event(4, 'NORMAL');
    const others = Array.from({ length: 50 }, (_, at) => event(4 * (at + 2), 'NORMAL'));
    await stack.send([slow, ...others]);
    const done: string[] = [];
    const hung = await stack.client({
      onEvent: async ({ event_id }, { signal }) => {
        if (event_id === slow.event_id)
          await new Promise((_, reject) => signal.addEventListener('abort', reject));
        done.push(event_id);
      },
    });
    await until('the other users', () => done.length === others.length);
    await hung.close({ timeoutMs: 100 });
    const again: string[] = [];
    const next = await stack.client({ onEvent: ({ event_id }) => void again.push(event_id) });
    await until('the event that was not done', () => again.includes(slow.event_id));
    await until('the offsets', async () => (await lag()) === 0);
    await next.close();
  });

  it('hands a HIGH event over while thousands of NORMAL ones wait, and NORMAL goes on meanwhile', async () => {
    const backlog = Array.from({ length: 4_000 }, (_, at) => event(at, 'NORMAL'));
    await stack.send(backlog);
    const order: Priority[] = [];
    let highs = 0;
    const client = await stack.client({
      onEvent: async ({ priority }) => {
        await sleep(20);
        order.push(priority);
        if (priority === 'HIGH') highs += 1;
      },
    });
    await until('the backlog is at work', () => order.length > 20);
    const before = order.length;
    await stack.send(Array.from({ length: 40 }, (_, at) => event(at, 'HIGH')));
    await until('the HIGH events', () => highs === 40);
    const normal = order.slice(before).filter((priority) => priority === 'NORMAL').length;
    assert.ok(order.length < 2_000, `HIGH waited for ${order.length} events`);
    assert.ok(normal >= 5, `only ${normal} NORMAL events meanwhile`);
    client.pause();
    await until('nothing is at work', () => client.health().priorities.NORMAL.atWork === 0);
    const paused = order.length;
    await stack.send([event(1, 'HIGH')]);
    await until('the paused client knows of more', () => client.lag().NORMAL > 0);
    assert.equal(order.length, paused);
    client.resume('HIGH');
    await until('HIGH again', () => highs === 41);
    assert.ok(order.length <= paused + 1, 'NORMAL is still paused');
    client.resume();
    await until('the backlog', () => order.length === backlog.length + 41, 120_000);
    await client.close();
  });

  it('calls a handler again after it failed or took too long, and then sets the record aside', async () => {
    const failing = event(1, 'HIGH');
    const slow = event(2, 'HIGH');
    const fine = event(1, 'HIGH');
    await stack.send([failing, slow, fine]);
    const attempts: number[] = [];
    const aborted: string[] = [];
    const done: string[] = [];
    const client = await stack.client({
      retries: { attempts: 3, initialMs: 10 },
      handlerTimeoutMs: 150,
      onEvent: async ({ event_id }, { attempt, signal }) => {
        if (event_id === failing.event_id) {
          attempts.push(attempt);
          throw new TypeError('hrv 20 is secret');
        }
        if (event_id === slow.event_id && attempt === 1) {
          signal.addEventListener('abort', () => aborted.push(event_id));
          await sleep(10_000, undefined, { signal });
        }
        done.push(event_id);
      },
    });
    await until('the others', () => done.length === 2);
    assert.deepEqual(attempts, [1, 2, 3]);
    assert.deepEqual(aborted, [slow.event_id]);
    const [letter] = await deadLetters(1);
    assert.equal(letter!.headers['__neuros.errors.reason'], 'handler_failed');
    assert.equal(letter!.headers['__neuros.errors.handler'], 'onEvent');
    assert.equal(letter!.headers['__neuros.errors.exception'], 'TypeError');
    assert.equal(letter!.headers['__neuros.errors.attempts'], '3');
    assert.deepEqual(letter!.value, stack.encode(failing));
    assert.ok(!client.lines.join().includes('secret'));
    await until('the offsets', async () => (await lag()) === 0);
    await client.close();
  });

  it('sets aside what is no event, without calling a handler or stopping', async () => {
    const topic = stack.names.priority.MEDIUM;
    const unknown = Buffer.concat([Buffer.of(0, 0x7f, 0xff, 0xff, 0xff), Buffer.from('abc')]);
    await stack.producer.send({
      topic,
      messages: [
        { key: 'poison', value: Buffer.from('{"hrv":20}'), partition: 0, headers: { kept: 'yes' } },
        { key: 'poison', value: unknown, partition: 0 },
        { key: 'poison', value: stack.encode(event(0, 'MEDIUM')).subarray(0, 30), partition: 0 },
        { key: null, value: null, partition: 0 },
      ],
    });
    const after = event(0, 'MEDIUM');
    await stack.send([after]);
    const seen: string[] = [];
    const client = await stack.client({ onEvent: ({ event_id }) => void seen.push(event_id) });
    await until('the event behind them', () => seen.length === 1);
    assert.deepEqual(seen, [after.event_id]);
    const letters = await deadLetters(5);
    const reasons = letters.slice(1).map(({ headers }) => headers['__neuros.errors.reason']);
    assert.deepEqual(reasons.sort(), ['corrupt', 'no_key', 'not_wire_format', 'unknown_schema']);
    assert.ok(letters.some(({ headers }) => headers['kept'] === 'yes'));
    await client.close();
  });

  it('announces an alert once and withdraws it when a newer version does not raise it, whichever is read first', async () => {
    const v1 = event(9, 'HIGH', { triggers: [trigger('a1')], resource_id: 'night', revision: 1 });
    const v2 = event(9, 'NORMAL', {
      resource_id: 'night',
      revision: 2,
      supersedes: { event_id: v1.event_id, priority: 'HIGH', alert_ids: ['a1'] },
    });
    const calls: string[] = [];
    const handlers: Partial<NeurosOptions> = {
      onEvent: ({ event_id }) => void calls.push(`event ${event_id}`),
      onAlert: ({ alert_id }, { event: of }) => void calls.push(`alert ${alert_id} ${of.event_id}`),
      onWithdrawn: ({ alert_id }, { event: of }) => void calls.push(`withdrawn ${alert_id} ${of.event_id}`),
    };
    const client = await stack.client(handlers);
    await stack.send([v1]);
    await until('the alert', () => calls.length === 2);
    await stack.send([v2]);
    await until('the withdrawal', () => calls.length === 4);
    const expected = ['event v1', 'alert a1 v1', 'event v2', 'withdrawn a1 v2'];
    const named = (text: string): string => text.replace(v1.event_id, 'v1').replace(v2.event_id, 'v2');
    assert.deepEqual(calls.map(named), expected);

    // The other way round.
    calls.length = 0;
    client.pause('HIGH');
    const w1 = event(13, 'HIGH', { triggers: [trigger('b1')], resource_id: 'other', revision: 1 });
    const w2 = event(13, 'NORMAL', {
      resource_id: 'other',
      revision: 2,
      supersedes: { event_id: w1.event_id, priority: 'HIGH', alert_ids: ['b1'] },
    });
    await stack.send([w1, w2]);
    await until('the correction', () => calls.length === 1);
    client.resume('HIGH');
    await until('the first version', () => calls.length === 2);
    await until('the offsets', async () => (await lag()) === 0);
    assert.deepEqual(calls, [`event ${w2.event_id}`, `event ${w1.event_id}`]);
    await client.close();
  });

  it('erases a user for a record without a value', async () => {
    const erased: string[] = [];
    const client = await stack.client({ onErased: ({ user_id }) => void erased.push(user_id) });
    await stack.producer.send({
      topic: stack.names.priority.NORMAL,
      messages: [{ key: 'user-9', value: null }],
    });
    await until('the erasure', () => erased.length === 1);
    assert.deepEqual(erased, ['user-9']);
    await client.close();
  });

  it('names the alert store when that does not answer its start in time', async () => {
    const never = new Promise<void>(() => undefined);
    await assert.rejects(
      stack.client({ onEvent: () => undefined, alerts: { ...memory(), start: () => never } }),
      (error) => error instanceof NeurosStartError && error.code === 'alerts',
    );
  });

  it('shares the partitions among clients, and a client that leaves hands over what it has done', async () => {
    const seen = new Map<string, number>();
    const onEvent = async ({ event_id }: BiometricEvent): Promise<void> => {
      await sleep(5);
      seen.set(event_id, (seen.get(event_id) ?? 0) + 1);
    };
    const sent = Array.from({ length: 1_500 }, (_, at) => event(at % 100, 'NORMAL'));
    const one = await stack.client({ onEvent });
    await stack.send(sent.slice(0, 500));
    const two = await stack.client({ onEvent });
    await until('both have partitions', () =>
      [one, two].every((client) => client.health().priorities.NORMAL.partitions === partitions / 2),
    );
    await stack.send(sent.slice(500, 1_000));
    await one.close();
    await stack.send(sent.slice(1_000));
    await until('all events', () => seen.size === sent.length);
    await until('the offsets', async () => (await lag()) === 0);
    assert.deepEqual(
      [...seen].filter(([, times]) => times > 1),
      [],
      'nothing twice in an orderly handover',
    );
    await two.close();
  });
});

function lag(): Promise<number> {
  return Promise.all(
    (['HIGH', 'MEDIUM', 'NORMAL'] as const).map((priority) =>
      stack.lag(`${stack.prefix}neuros-${priority.toLowerCase()}`, [stack.names.priority[priority]]),
    ),
  ).then((all) => all.reduce((sum, one) => sum + one, 0));
}

interface DeadLetter {
  readonly value: Buffer | null;
  readonly headers: Record<string, string>;
}

/** The dead letters so far, in the order of their records. */
async function deadLetters(count: number): Promise<DeadLetter[]> {
  const topic = `${stack.prefix}neuros.dlq`;
  let read = await readCommitted({ brokers: stack.brokers }, [topic]);
  await until('the dead letters', async () => {
    read = await readCommitted({ brokers: stack.brokers }, [topic]);
    return read.length >= count;
  });
  return read
    .sort((a, b) => a.timestamp - b.timestamp)
    .map(({ value, headers }) => ({
      value,
      headers: Object.fromEntries(
        Object.keys(headers).map((name) => [name, headerText(headers, name) ?? '']),
      ),
    }));
}
