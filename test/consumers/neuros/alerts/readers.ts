/**
 * Reads a night's events as readers do, one lane per topic, in an order and with faults that a seed decides. Between two of its
 * waits a lane is at a gate, and who passes next is drawn.
 */
import assert from 'node:assert/strict';
import { settlesWithin } from '../../../../process/deadline.ts';
import type { BiometricEvent, Priority } from '../../../../schemas/biometric-event.ts';
import { compareVersions } from '../../../../schemas/version-order.ts';
import {
  AlertsBusy,
  AlertStoreUnavailable,
  type AlertAttempt,
  type Alerts,
  type AlertStep,
} from '../../../../consumers/neuros/alerts/alerts.ts';
import type { ClaimStore } from '../../../../consumers/neuros/alerts/claim-store.ts';
import { namedAtTheEnd, type Published } from './night.ts';

/** Draws whole numbers below `bound`; the same seed draws the same. */
export type Draw = (bound: number) => number;

export function drawn(seed: number): Draw {
  let state = seed >>> 0;
  return (bound) => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

/** Something that a handler has done. */
export interface Effect {
  readonly kind: AlertStep['kind'];
  readonly alertId: string;
  readonly mayBeRepeat: boolean;
}

export interface Reading {
  readonly log: readonly Published[];
  readonly draw: Draw;
  /** The alerts of a new process. */
  alerts(): Promise<Alerts>;
  /** How often a process may die; what it was at is abandoned. */
  readonly crashes: number;
  /** How often a handler may fail, before or after its effect. */
  readonly failures: number;
  /** Lets the leases of the dead end. */
  passTime(): void;
  /** The handler's effect; by default it is only noted. */
  effect?(effect: Effect, attempt: AlertAttempt): Promise<void>;
  /** A crash reaches handlers as their signal. */
  readonly abortsOnCrash?: boolean;
  /** A lane that is on its way for so long may be waiting for another, which goes on then. By default no lane waits so. */
  readonly patienceMs?: number;
}

class HandlerFailure extends Error {}

/** Whether the same call is to be made again. */
function isWait(error: unknown): boolean {
  return error instanceof AlertStoreUnavailable || error instanceof AlertsBusy;
}

interface Process {
  readonly alerts: Alerts;
  readonly dead: AbortController;
}

interface Lane {
  readonly topic: Priority;
  process: Process;
  position: number;
  /** Passes the gate that it is at; undefined once everything is read. */
  pass: (() => void) | undefined;
  arrived: () => void;
  isInHandler: boolean;
  /** Ends when it is at a gate again, or has read everything. */
  onItsWay: Promise<void>;
  hasEnded: boolean;
}

/** Reads everything to the end; answers what was done, in order. */
export async function readAll(reading: Reading): Promise<Effect[]> {
  const { draw } = reading;
  const effects: Effect[] = [];
  const begun: BiometricEvent[] = [];
  const left = { crashes: reading.crashes, failures: reading.failures };
  const first: Process = { alerts: await reading.alerts(), dead: new AbortController() };
  const second: Process =
    reading.crashes > 0 ? { alerts: await reading.alerts(), dead: new AbortController() } : first;
  const processes = new Set([first, second]);
  const lanes = (['HIGH', 'MEDIUM', 'NORMAL'] as const).map((topic): Lane => {
    const process = draw(2) === 0 ? first : second;
    const atStart = { position: 0, pass: undefined, arrived: () => undefined, onItsWay: Promise.resolve() };
    return { topic, process, ...atStart, isInHandler: false, hasEnded: false };
  });
  const queues = new Map(lanes.map(({ topic }) => [topic, reading.log.filter((one) => one.topic === topic)]));

  function gate(lane: Lane, process: Process): Promise<void> {
    if (lane.process !== process) return new Promise(() => undefined);
    return new Promise((resolve) => {
      lane.pass = () => {
        lane.pass = undefined;
        resolve();
      };
      lane.arrived();
    });
  }

  async function handler(
    lane: Lane,
    process: Process,
    step: AlertStep,
    attempt: AlertAttempt,
  ): Promise<void> {
    lane.isInHandler = true;
    await gate(lane, process);
    const fault = left.failures > 0 ? draw(8) : -1;
    if (fault === 0 || fault === 1) left.failures -= 1;
    if (fault !== 0) {
      const { mayBeRepeat } = attempt;
      const effect = { kind: step.kind, alertId: step.alert.alert_id, mayBeRepeat };
      await reading.effect?.(effect, attempt);
      effects.push(effect);
    }
    if (fault === 0 || fault === 1) throw new HandlerFailure();
    await gate(lane, process);
  }

  async function handle(lane: Lane, process: Process, { event, isStale }: Published): Promise<boolean> {
    const newer = begun.some(
      (other) => other.resource_id === event.resource_id && compareVersions(other, event) > 0,
    );
    const steps = await process.alerts.begin(event, { announce: !isStale });
    if (newer && reading.crashes > 0)
      assert.deepEqual(steps, [], 'an older event raises and withdraws nothing');
    begun.push(event);
    for (const step of steps) {
      for (let outcome = 'busy'; outcome === 'busy';) {
        await gate(lane, process);
        const signal = reading.abortsOnCrash === true ? process.dead.signal : undefined;
        try {
          outcome = await step.run((attempt) => handler(lane, process, step, attempt), signal);
        } catch (error) {
          if (lane.process !== process) return new Promise(() => undefined);
          if (!(error instanceof HandlerFailure || isWait(error))) throw error;
        }
        lane.isInHandler = false;
      }
    }
    return true;
  }

  async function run(lane: Lane): Promise<void> {
    const { process } = lane;
    const queue = queues.get(lane.topic) ?? [];
    for (let at = lane.position; at < queue.length; at++) {
      for (let isDone = false; !isDone;) {
        await gate(lane, process);
        isDone = await handle(lane, process, queue[at]!).catch((error: unknown) => {
          if (isWait(error)) return false;
          throw error;
        });
        if (lane.process !== process) return new Promise(() => undefined);
      }
      // The commit may be lost with the process.
      if (reading.crashes === 0 || draw(3) > 0) lane.position = at + 1;
    }
    lane.hasEnded = true;
    lane.arrived();
  }

  const failure: { error?: Error } = {};
  const patient = async (lane: Lane): Promise<void> => {
    if (reading.patienceMs === undefined) return lane.onItsWay;
    await settlesWithin(lane.onItsWay, reading.patienceMs);
  };
  const start = (lane: Lane): Promise<void> => {
    lane.hasEnded = false;
    lane.onItsWay = new Promise((resolve) => {
      lane.arrived = resolve;
      run(lane).catch((error: unknown) => {
        failure.error ??= error instanceof Error ? error : new Error('not an error');
        resolve();
      });
    });
    return patient(lane);
  };
  const move = (lane: Lane): Promise<void> => {
    lane.onItsWay = new Promise((resolve) => {
      lane.arrived = resolve;
      lane.pass?.();
    });
    return patient(lane);
  };

  async function crash(process: Process): Promise<void> {
    const replacement: Process = { alerts: await reading.alerts(), dead: new AbortController() };
    processes.delete(process);
    processes.add(replacement);
    const orphans = lanes.filter((lane) => lane.process === process);
    for (const lane of orphans) {
      Object.assign(lane, { process: replacement, pass: undefined, isInHandler: false });
    }
    process.dead.abort(new Error('the process died'));
    await process.alerts.close();
    await Promise.all(orphans.map(start));
  }

  await Promise.all(lanes.map(start));
  for (let turns = 0; failure.error === undefined; turns++) {
    const waiting = lanes.filter(({ pass }) => pass !== undefined);
    if (waiting.length === 0) {
      const left = lanes.filter(({ hasEnded }) => !hasEnded);
      if (left.length === 0) break;
      await Promise.race(left.map(({ onItsWay }) => onItsWay));
      continue;
    }
    assert.ok(turns < 5_000, 'the readers come to an end');
    if (!waiting.some(({ isInHandler }) => isInHandler) && draw(4) === 0) reading.passTime();
    if (left.crashes > 0 && draw(12) === 0) {
      left.crashes -= 1;
      await crash([...processes][draw(processes.size)]!);
      continue;
    }
    const chosen = waiting.filter(() => draw(3) === 0);
    await Promise.all((chosen.length > 0 ? chosen : [waiting[draw(waiting.length)]!]).map(move));
  }
  for (const { alerts } of processes) await alerts.close();
  if (failure.error !== undefined) throw failure.error;
  return effects;
}

/** Checks what the client promises about alerts, against everything that was done. */
export function assertPromised(log: readonly Published[], effects: readonly Effect[]): void {
  const named = namedAtTheEnd(log);
  for (const alertId of new Set(log.flatMap(({ event }) => event.triggers.map((one) => one.alert_id)))) {
    const ofAlert = effects.filter((effect) => effect.alertId === alertId);
    ofAlert.forEach((effect, i) => {
      const before = ofAlert[i - 1];
      if (effect.kind === before?.kind)
        assert.ok(effect.mayBeRepeat, `${effect.kind} again, and it is said that it may be a repeat`);
      if (before === undefined && effect.kind === 'withdraw')
        assert.ok(effect.mayBeRepeat, 'nothing is withdrawn that no attempt could have announced');
    });
    const last = ofAlert.at(-1)?.kind;
    const isNamed = named.get(alertId);
    if (isNamed === true)
      assert.equal(last, 'announce', 'an alert that a newest version names stands announced');
    if (isNamed === undefined)
      assert.notEqual(last, 'announce', 'an alert that nothing names does not stand');
  }
}

/** A store whose clock a test moves, and whose calls sometimes fail, before or after they were done. */
export function faultyStore(
  store: ClaimStore,
  options: { readonly now: () => number; readonly draw: Draw; readonly faults: number },
): ClaimStore {
  let left = options.faults;
  return {
    ...store,
    async update(ledger, touched, change) {
      const fault = left > 0 ? options.draw(12) : -1;
      if (fault === 0 || fault === 1) left -= 1;
      if (fault === 0) throw new AlertStoreUnavailable('before');
      const answer = await store.update(ledger, touched, (part) => change(part, options.now()));
      if (fault === 1) throw new AlertStoreUnavailable('after');
      return answer;
    },
  };
}
