/** The metrics of a client, where prom-client is installed. No label is a user or a resource. */
import { createRequire } from 'node:module';
import type * as PromClientModule from 'prom-client';
import { priorities, type Priority } from '../../schemas/biometric-event.ts';
import type { HandlerName } from './delivery.ts';
import { NeurosOptionsError, type MetricsRegistry } from './options.ts';

/** What the gauges ask when the metrics are read. */
export interface Gauges {
  lag(priority: Priority): number;
  atWork(priority: Priority): number;
}

/** The metrics of one client. */
export interface NeurosMetrics {
  readonly registry: MetricsRegistry | undefined;
  called(handler: HandlerName, priority: Priority, ms: number, isFailed: boolean): void;
  /** @param delayMs - since the ingress took the event. */
  handedOver(priority: Priority, delayMs: number): void;
  alert(result: 'announced' | 'withdrawn'): void;
  setAside(reason: string): void;
  /** Lets another client have the registry; until it does, the last figures stay. */
  close(): void;
}

/** The client that has its metrics in a registry. */
const owners = new WeakMap<object, { isClosed: boolean }>();

type PromClient = typeof PromClientModule;
const none = (): void => undefined;
const names = [
  'neuros_handler_duration_seconds',
  'neuros_event_delay_seconds',
  'neuros_alerts_total',
  'neuros_dead_letters_total',
  'neuros_lag_records',
  'neuros_handlers_at_work',
] as const;

/**
 * @param registry - the caller's; without one the client has its own.
 * @returns metrics that count nothing where prom-client is not installed.
 * @throws NeurosOptionsError when there is a registry and no prom-client.
 */
export function neurosMetrics(registry: MetricsRegistry | undefined, gauges: Gauges): NeurosMetrics {
  const prom = promClient();
  if (prom === undefined && registry !== undefined)
    throw new NeurosOptionsError(['metrics needs the package prom-client: install it']);
  if (prom === undefined)
    return {
      registry: undefined,
      called: none,
      handedOver: none,
      alert: none,
      setAside: none,
      close: none,
    };
  const target = (registry ?? new prom.Registry()) as unknown as PromClientModule.Registry;
  const owner = takeOver(target);
  const registers = [target];
  const seconds = new prom.Histogram({
    name: names[0],
    help: 'Time of one call of a handler, by handler, priority and result',
    labelNames: ['handler', 'priority', 'result'],
    buckets: [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const delay = new prom.Histogram({
    name: names[1],
    help: 'Time from receipt at the ingress until the first handler is called; redeliveries count again',
    labelNames: ['priority'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 600, 3600],
    registers,
  });
  const alerts = new prom.Counter({
    name: names[2],
    help: 'Alerts handed over, by result: announced or withdrawn',
    labelNames: ['result'],
    registers,
  });
  const deadLetters = new prom.Counter({
    name: names[3],
    help: 'Records that were set aside in the dead-letter topic, by reason',
    labelNames: ['reason'],
    registers,
  });
  gauge(prom, registers, names[4], 'Offsets between what is done and the end', gauges.lag);
  gauge(prom, registers, names[5], 'Handlers at work', gauges.atWork);
  return {
    registry: target,
    called: (handler, priority, ms, isFailed) =>
      seconds.observe({ handler, priority, result: isFailed ? 'failed' : 'done' }, ms / 1_000),
    handedOver: (priority, delayMs) => delay.observe({ priority }, Math.max(0, delayMs) / 1_000),
    alert: (result) => alerts.inc({ result }),
    setAside: (reason) => deadLetters.inc({ reason }),
    close: () => {
      owner.isClosed = true;
    },
  };
}

/** A registry takes each name once: those of a closed client, which this one replaces, are taken out. */
function takeOver(target: PromClientModule.Registry): { isClosed: boolean } {
  const before = owners.get(target);
  if (before?.isClosed === false)
    throw new NeurosOptionsError([
      'metrics has those of another client that is not closed: give each its own Registry, and Registry.merge() for one page',
    ]);
  if (before !== undefined) for (const name of names) target.removeSingleMetric(name);
  const owner = { isClosed: false };
  owners.set(target, owner);
  return owner;
}

function gauge(
  prom: PromClient,
  registers: PromClientModule.Registry[],
  name: string,
  help: string,
  valueOf: (priority: Priority) => number,
): void {
  new prom.Gauge({
    name,
    help: `${help}, by priority`,
    labelNames: ['priority'],
    registers,
    collect() {
      for (const priority of priorities) this.set({ priority }, valueOf(priority));
    },
  });
}

/** An optional dependency: a reader without metrics need not install it. */
function promClient(): PromClient | undefined {
  try {
    return createRequire(import.meta.url)('prom-client') as PromClient;
  } catch {
    return undefined;
  }
}
