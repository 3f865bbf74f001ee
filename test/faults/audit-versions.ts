/** What events say of the versions of their resources, by a rule that shares nothing with the topology. */
import { compareVersions } from '../../schemas/version-order.ts';
import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { Findings, placeName } from './audit-compare.ts';

/**
 * Finds the events that name another version before them than the one that is: each has to name event, priority and alerts
 * of the version before, in the order in which readers compare versions, and the first of a resource none. So a reader that
 * follows `supersedes` withdraws each alert that no newer version raises.
 * @param events - all of each resource, in any order. A repeated event counts once.
 */
export function unlinkedEvents(events: readonly BiometricEvent[]): Findings {
  const findings = new Findings();
  const resources = new Map<string, BiometricEvent[]>();
  for (const event of events) {
    const resource = JSON.stringify([event.device_type, event.user_id, event.resource_id]);
    const versions = resources.get(resource);
    if (versions === undefined) resources.set(resource, [event]);
    else versions.push(event);
  }
  for (const versions of resources.values()) {
    versions.sort(compareVersions);
    let before: BiometricEvent | undefined;
    for (const event of versions) {
      if (before !== undefined && compareVersions(before, event) === 0 && before.event_id === event.event_id)
        continue;
      if (named(event.supersedes) !== named(before === undefined ? null : whatSupersedes(before)))
        findings.add(`${placeName(event.raw)}: names another version before it`);
      before = event;
    }
  }
  return findings;
}

function whatSupersedes({ event_id, priority, triggers }: BiometricEvent): BiometricEvent['supersedes'] {
  return { event_id, priority, alert_ids: [...new Set(triggers.map(({ alert_id }) => alert_id))] };
}

function named(before: BiometricEvent['supersedes']): string {
  return JSON.stringify(before === null ? null : [before.event_id, before.priority, before.alert_ids]);
}
