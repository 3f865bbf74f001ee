import type { Priority } from '../schemas/biometric-event.ts';

/** The severities of triggers, most severe first. */
export const severities = ['CRITICAL', 'HIGH', 'MEDIUM', 'LOW'] as const;

/** The priority of an event with these triggers: any CRITICAL is HIGH, else any HIGH is MEDIUM, else NORMAL. */
export function priorityOf(triggers: readonly { readonly severity: string }[]): Priority {
  if (triggers.some(({ severity }) => severity === 'CRITICAL')) return 'HIGH';
  return triggers.some(({ severity }) => severity === 'HIGH') ? 'MEDIUM' : 'NORMAL';
}
