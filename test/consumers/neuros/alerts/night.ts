/** Random versions of the resources of one night, as the topology would publish them. */
import fc from 'fast-check';
import type { BiometricEvent, Priority, Trigger } from '../../../../schemas/biometric-event.ts';
import { compareVersions } from '../../../../schemas/version-order.ts';
import { anEvent } from '../../../schemas/events.ts';

/** An event in its topic. */
export interface Published {
  readonly topic: Priority;
  readonly event: BiometricEvent;
  readonly isStale: boolean;
}

interface Version {
  readonly resource: number;
  /** A bit per alert that it raises. */
  readonly raises: number;
  readonly topic: Priority;
  readonly isStale: boolean;
  readonly revision: 'higher' | 'same' | 'of the next generation';
}

const topics: readonly Priority[] = ['HIGH', 'MEDIUM', 'NORMAL'];

/**
 * A night's events in the order of their raw records: up to 12 versions of three resources, which raise three alerts.
 * @param options.staleForGood - what follows a stale event is stale as well.
 */
export function nights(options: { readonly staleForGood: boolean }): fc.Arbitrary<Published[]> {
  const version: fc.Arbitrary<Version> = fc.record({
    resource: fc.nat(2),
    raises: fc.nat(7),
    topic: fc.constantFrom(...topics),
    isStale: fc.nat(7).map((n) => n === 0),
    revision: fc.constantFrom('higher', 'higher', 'same', 'of the next generation'),
  });
  return fc
    .array(version, { minLength: 1, maxLength: 12 })
    .map((versions) => publish(versions, options.staleForGood));
}

/** The alert of a number. */
export function alertId(alert: number): string {
  return `0d9e7a86-7f0c-5a38-8e0a-00000000000${alert}`;
}

export function trigger(alert: number, first: boolean): Trigger {
  return { ...anEvent().triggers[0]!, alert_id: alertId(alert), first };
}

/** The alerts that a newest version names: by id, whether one of those versions is not stale. */
export function namedAtTheEnd(log: readonly Published[]): Map<string, boolean> {
  const newest = new Map<string, Published>();
  for (const published of log) {
    const known = newest.get(published.event.resource_id);
    if (known === undefined || compareVersions(published.event, known.event) > 0)
      newest.set(published.event.resource_id, published);
  }
  const named = new Map<string, boolean>();
  for (const { event, isStale } of newest.values()) {
    for (const { alert_id } of event.triggers) named.set(alert_id, named.get(alert_id) === true || !isStale);
  }
  return named;
}

function publish(versions: readonly Version[], staleForGood: boolean): Published[] {
  const last = new Map<number, BiometricEvent>();
  const raised = new Set<number>();
  let generation = 0;
  let wasStale = false;
  return versions.map(({ resource, raises, topic, revision, ...version }, offset) => {
    const before = last.get(resource);
    if (revision === 'of the next generation') generation += 1;
    const isStale = version.isStale || (staleForGood && wasStale);
    wasStale = isStale;
    const triggers = [0, 1, 2]
      .filter((alert) => (raises & (1 << alert)) !== 0)
      .map((alert) => {
        const first = !raised.has(alert);
        raised.add(alert);
        return trigger(alert, first);
      });
    const event = anEvent({
      event_id: `event ${offset}`,
      resource_id: `resource ${resource}`,
      triggers,
      priority: topic,
      generation,
      revision: (before?.revision ?? 0) + (revision === 'higher' ? 1 : 0),
      raw: { topic: 'raw.oura', partition: 1, offset },
      supersedes:
        before === undefined
          ? null
          : {
              event_id: before.event_id,
              priority: before.priority,
              alert_ids: before.triggers.map(({ alert_id }) => alert_id),
            },
    });
    last.set(resource, event);
    return { topic, event, isStale };
  });
}
