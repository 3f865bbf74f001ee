import type { BiometricEvent } from '../../schemas/biometric-event.ts';
import { compareVersions } from '../../schemas/version-order.ts';

/** The books of the alerts: what the events raise on one side, what a reader has announced and withdrawn on the other. */
export class AlertAccount {
  /** The newest version of each resource. */
  readonly #newest = new Map<string, BiometricEvent>();
  /** Alerts that these events raised for the first time; the reader may not know those of before. */
  readonly #first = new Set<string>();
  /** Those announced and not withdrawn since. */
  readonly #standing = new Set<string>();
  #announced = 0;
  #withdrawn = 0;
  #repeated = 0;

  eventRead(event: BiometricEvent): void {
    const key = JSON.stringify([event.device_type, event.user_id, event.resource_id]);
    const known = this.#newest.get(key);
    if (known === undefined || compareVersions(event, known) > 0) this.#newest.set(key, event);
    if (isStale(event)) return;
    for (const { alert_id, first } of event.triggers) if (first) this.#first.add(alert_id);
  }

  announced(alertId: string): void {
    this.#announced += 1;
    if (this.#standing.has(alertId)) this.#repeated += 1;
    this.#standing.add(alertId);
  }

  withdrawn(alertId: string): void {
    this.#withdrawn += 1;
    this.#standing.delete(alertId);
  }

  /** How many were announced and withdrawn. */
  get counts(): { readonly alerts: number; readonly withdrawn: number } {
    return { alerts: this.#announced, withdrawn: this.#withdrawn };
  }

  /** How the reader differs from what the events raise, in words; empty when it does not. */
  faults(): string[] {
    const raised = new Set<string>();
    for (const event of this.#newest.values())
      if (!isStale(event)) for (const { alert_id } of event.triggers) raised.add(alert_id);
    let missing = 0;
    let wrong = 0;
    for (const alert of this.#first) {
      const isStanding = this.#standing.has(alert);
      if (raised.has(alert) && !isStanding) missing += 1;
      if (!raised.has(alert) && isStanding) wrong += 1;
    }
    return [
      ...(missing > 0 ? [`${missing} alerts were not announced by the example reader`] : []),
      ...(wrong > 0 ? [`${wrong} alerts were not withdrawn by the example reader`] : []),
      ...(this.#repeated > 0 ? [`${this.#repeated} alerts were announced twice by the example reader`] : []),
    ];
  }
}

function isStale({ flags }: BiometricEvent): boolean {
  return flags.includes('stale');
}
