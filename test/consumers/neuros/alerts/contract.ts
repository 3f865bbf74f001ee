/** What holds of alerts() over any store: each store's tests run these. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BiometricEvent, Trigger } from '../../../../schemas/biometric-event.ts';
import {
  AlertsBusy,
  type AlertAttempt,
  type Alerts,
  type AlertStep,
} from '../../../../consumers/neuros/alerts/alerts.ts';
import { anEvent } from '../../../schemas/events.ts';
import { trigger } from './night.ts';

/** An event of a version; `names` are the alerts that it raises, `replaces` those of the version before it. */
export function version(
  revision: number,
  names: readonly Trigger[],
  replaces?: readonly Trigger[],
  changes: Partial<BiometricEvent> = {},
): BiometricEvent {
  return anEvent({
    revision,
    triggers: names,
    raw: { topic: 'raw.oura', partition: 1, offset: revision },
    supersedes:
      replaces === undefined
        ? null
        : { event_id: 'before', priority: 'HIGH', alert_ids: replaces.map(({ alert_id }) => alert_id) },
    ...changes,
  });
}

/**
 * Makes a call again while somebody else is at the alerts of its user, as the client does: that ends after a moment where a
 * machine is fast, and later where it is not.
 */
export async function onceFree<T>(call: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof AlertsBusy)) throw error;
    }
  }
}

/** Begins an event. */
export function begin(alerts: Alerts, event: BiometricEvent, announce = true): Promise<AlertStep[]> {
  return onceFree(() => alerts.begin(event, { announce }));
}

/** What steps are: `announce` or `withdraw` and the end of the alert's id. */
export function shown(steps: readonly AlertStep[]): string[] {
  return steps.map(({ kind, alert }) => `${kind} ${alert.alert_id.at(-1) ?? ''}`);
}

/** Runs all steps; what their handlers were told. */
export async function finish(steps: readonly AlertStep[]): Promise<string[]> {
  const told: string[] = [];
  for (const step of steps) {
    const outcome = await step.run((attempt) => {
      told.push(`${step.kind}${attempt.mayBeRepeat ? ' again' : ''}`);
      return Promise.resolve();
    });
    if (outcome !== 'done') told.push(outcome);
  }
  return told;
}

/** A handler that has begun, and waits. */
export function waiting(): {
  handler: (attempt: AlertAttempt) => Promise<void>;
  begun: Promise<AlertAttempt>;
  end: (error?: Error) => unknown;
} {
  const wait = new EventEmitter<{ begun: [AlertAttempt]; end: [Error | undefined] }>();
  return {
    handler: async (attempt) => {
      const ended = once(wait, 'end');
      wait.emit('begun', attempt);
      const [error] = (await ended) as [Error | undefined];
      if (error !== undefined) throw error;
    },
    begun: once(wait, 'begun').then(([attempt]) => attempt as AlertAttempt),
    end: (error) => wait.emit('end', error),
  };
}

export const first = trigger(1, true);
export const again = trigger(1, false);
export const other = trigger(2, true);

/** Tests of one user each, because a store outlives a test. */
export function user(): { user_id: string } {
  return { user_id: `user ${randomUUID()}` };
}

/**
 * Tests of any alerts.
 * @param connect - the alerts of another process of the same reader, not started.
 */
export function testAlerts(connect: () => Alerts): void {
  const started = async (reader = 'neuros'): Promise<Alerts> => {
    const alerts = connect();
    await alerts.start(reader);
    return alerts;
  };

  test('an alert is announced once, and not when its event is read again or repeats it', async () => {
    const alerts = await started();
    const mine = user();
    assert.deepEqual(await finish(await begin(alerts, version(1, [first], undefined, mine))), ['announce']);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
    assert.deepEqual(await begin(alerts, version(2, [again], [first], mine)), []);
    await alerts.close();
  });

  test('an event without alerts that supersedes another silences what is older', async () => {
    const alerts = await started();
    const mine = user();
    assert.deepEqual(await begin(alerts, version(3, [], [], mine)), []);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine)), []);
    assert.deepEqual(await begin(alerts, version(2, [], [first], mine)), []);
    await alerts.close();
  });

  test('a dropped alert is withdrawn as it was announced, before what is new, and announced again when it is raised again', async () => {
    const alerts = await started();
    const mine = user();
    const announced = { ...first, recommendation: 'rest \0 "now"' };
    await finish(await begin(alerts, version(1, [announced], undefined, mine)));
    const steps = await begin(alerts, version(2, [other], [first], mine));
    assert.deepEqual(shown(steps), ['withdraw 1', 'announce 2']);
    assert.deepEqual(steps[0]!.alert, announced);
    assert.deepEqual(await finish(steps), ['withdraw', 'announce']);
    assert.deepEqual(await begin(alerts, version(2, [other], [first], mine)), []);
    const third = await begin(alerts, version(3, [again, { ...other, first: false }], [other], mine));
    assert.deepEqual(shown(third), ['announce 1']);
    assert.deepEqual(await finish(third), ['announce']);
    await alerts.close();
  });

  test('an alert stands while another resource of the night names it', async () => {
    const alerts = await started();
    const mine = user();
    const nap = { ...mine, resource_id: 'nap' };
    await finish(await begin(alerts, version(1, [first], undefined, mine)));
    await finish(await begin(alerts, version(1, [again], undefined, nap)));
    assert.deepEqual(await begin(alerts, version(2, [], [first], mine)), []);
    assert.deepEqual(shown(await begin(alerts, version(2, [], [again], nap))), ['withdraw 1']);
    await alerts.close();
  });

  test('an alert that was not announced yet is not withdrawn, and its step is skipped', async () => {
    const alerts = await started();
    const mine = user();
    const late = await begin(alerts, version(1, [first], undefined, mine));
    assert.deepEqual(await begin(alerts, version(2, [], [first], mine)), []);
    assert.deepEqual(await finish(late), ['skipped']);
    await alerts.close();
  });

  test('two triggers of one alert are one alert', async () => {
    const alerts = await started();
    assert.equal((await begin(alerts, version(1, [first, again], undefined, user()))).length, 1);
    await alerts.close();
  });

  test('the alerts of a stale event wait for one that is not', async () => {
    const alerts = await started();
    const mine = user();
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, mine), false), []);
    assert.deepEqual(shown(await begin(alerts, version(2, [again], [first], mine))), ['announce 1']);
    await alerts.close();
  });

  test('an alert that was given up is announced when it is repeated', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    await step!.giveUp();
    assert.deepEqual(shown(await begin(alerts, version(2, [again], [first], mine))), ['announce 1']);
    await alerts.close();
  });

  test('a handler that succeeded at second try has been called twice', async () => {
    const alerts = await started();
    const [step] = await begin(alerts, version(1, [first], undefined, user()));
    const failure = new Error('the handler failed');
    await assert.rejects(
      step!.run(() => Promise.reject(failure)),
      failure,
    );
    assert.equal((await finish([step!])).length, 1);
    await step!.run(() => assert.fail('called once more'));
    await alerts.close();
  });

  test('an aborted attempt fails at once with the reason, and the step can be run again', async () => {
    const alerts = await started();
    const [step] = await begin(alerts, version(1, [first], undefined, user()));
    const { handler, begun, end } = waiting();
    const stop = new AbortController();
    const run = step!.run(handler, stop.signal);
    await begun;
    const reason = new Error('over its time');
    stop.abort(reason);
    await assert.rejects(run, reason);
    end(new Error('nobody hears this'));
    await assert.rejects(step!.run(handler, stop.signal), reason);
    assert.equal((await finish([step!])).length, 1);
    await alerts.close();
  });

  test('another lane that comes to the same alert is told to wait', async () => {
    const alerts = await started();
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    const [same] = await begin(alerts, version(1, [first], undefined, mine));
    const { handler, begun, end } = waiting();
    const run = step!.run(handler);
    await begun;
    assert.deepEqual(await finish([same!]), ['busy']);
    end();
    assert.equal(await run, 'done');
    assert.deepEqual(await finish([same!]), ['skipped']);
    await alerts.close();
  });

  test('an erased user is unknown, and other users are not', async () => {
    const alerts = await started();
    const [mine, yours] = [user(), user()];
    for (const one of [mine, yours]) await finish(await begin(alerts, version(1, [first], undefined, one)));
    const [left] = await begin(alerts, version(2, [first, other], [first], mine));
    await alerts.erase(mine.user_id);
    assert.deepEqual(await finish([left!]), ['skipped']);
    assert.deepEqual(shown(await begin(alerts, version(1, [first], undefined, mine))), ['announce 1']);
    assert.deepEqual(await begin(alerts, version(1, [first], undefined, yours)), []);
    await alerts.close();
  });

  test('users, devices, resources and readers whose names are alike are told apart', async () => {
    const alerts = await started('a:b');
    const mine = user();
    const id = mine.user_id;
    await finish(await begin(alerts, version(1, [first], undefined, mine)));
    const alike: Partial<BiometricEvent>[] = [
      { user_id: `${id}\0` },
      { user_id: `${id}${'x'.repeat(5_000)}` },
      { user_id: `oura:${id}` },
      { user_id: id, device_type: 'whoop' },
    ];
    for (const change of alike) {
      const steps = await begin(alerts, version(1, [first], undefined, change));
      assert.deepEqual(await finish(steps), ['announce'], JSON.stringify(change).slice(0, 100));
    }
    const long = { ...mine, resource_id: 'r'.repeat(5_000) };
    assert.deepEqual(await begin(alerts, version(1, [again], undefined, long)), []);
    const odd = trigger(1, true);
    const oddStep = await begin(
      alerts,
      version(1, [{ ...odd, alert_id: '\0' }], undefined, { ...mine, resource_id: '\0' }),
    );
    assert.deepEqual(await finish(oddStep), ['announce']);
    const neighbour = await started('a');
    assert.equal((await begin(neighbour, version(1, [first], undefined, mine))).length, 1);
    await neighbour.close();
    await alerts.close();
  });
}

/**
 * Tests of claims that several processes share.
 * @param connect - with a lease of so many milliseconds.
 */
export function testClaims(connect: (leaseMs: number) => Alerts): void {
  const started = async (leaseMs: number): Promise<Alerts> => {
    const alerts = connect(leaseMs);
    await alerts.start('neuros');
    return alerts;
  };

  test('of several processes that read one event, one announces it', async () => {
    const mine = user();
    const all = await Promise.all(Array.from({ length: 6 }, () => started(60_000)));
    let announced = 0;
    const outcomes = await Promise.all(
      all.map(async (alerts) => {
        const steps = await begin(alerts, version(1, [first, other], undefined, mine));
        const ran = steps.map((step) =>
          onceFree(() =>
            step.run(async () => {
              announced += 1;
              await sleep(5);
            }),
          ),
        );
        return Promise.all(ran);
      }),
    );
    assert.equal(announced, 2);
    assert.equal(outcomes.flat().filter((outcome) => outcome === 'done').length, 2);
    await Promise.all(all.map((alerts) => alerts.close()));
  });

  test('a failed handler is called again with the word that it may repeat', async () => {
    const alerts = await started(60_000);
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    await assert.rejects(step!.run(() => Promise.reject(new Error('failed'))));
    const other = await started(60_000);
    assert.deepEqual(await finish(await begin(other, version(1, [first], undefined, mine))), [
      'announce again',
    ]);
    await Promise.all([alerts.close(), other.close()]);
  });

  test('what a handler that failed may have announced is withdrawn', async () => {
    const alerts = await started(60_000);
    const mine = user();
    const [step] = await begin(alerts, version(1, [first], undefined, mine));
    await assert.rejects(step!.run(() => Promise.reject(new Error('failed'))));
    await step!.giveUp();
    const steps = await begin(alerts, version(2, [], [first], mine));
    assert.deepEqual(await finish(steps), ['withdraw again']);
    await alerts.close();
  });

  test('a claim stands while its handler runs, and ends with its lease when its process has died', async () => {
    const [living, dying] = [await started(1_000), await started(1_000)];
    const mine = user();
    const [step] = await begin(dying, version(1, [first], undefined, mine));
    const { handler, begun, end } = waiting();
    const run = step!.run(handler);
    await begun;
    const [same] = await begin(living, version(1, [first], undefined, mine));
    const beganAt = performance.now();
    while (performance.now() - beganAt < 1_500) {
      assert.deepEqual(await finish([same!]), ['busy']);
      await sleep(100);
    }
    // It renews its claims no more, as if it had died.
    await dying.close();
    let told = ['busy'];
    while (told[0] === 'busy') {
      await sleep(50);
      told = await finish([same!]);
    }
    assert.deepEqual(told, ['announce again']);
    end();
    assert.equal(await run, 'done');
    assert.deepEqual(await begin(living, version(1, [first], undefined, mine)), []);
    await living.close();
  });

  test('a busy withdrawal is asked again, until the announcement before it has ended', async () => {
    const [one, two] = [await started(60_000), await started(60_000)];
    const mine = user();
    const [announce] = await begin(one, version(1, [first], undefined, mine));
    const { handler, begun, end } = waiting();
    const run = announce!.run(handler);
    await begun;
    const steps = await begin(two, version(2, [], [first], mine));
    assert.deepEqual(shown(steps), ['withdraw 1']);
    assert.deepEqual(await finish(steps), ['busy']);
    end();
    assert.equal(await run, 'done');
    assert.deepEqual(await finish(steps), ['withdraw']);
    await Promise.all([one.close(), two.close()]);
  });
}
