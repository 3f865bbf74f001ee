import type { Priority } from '../../schemas/biometric-event.ts';

/** Every priority, the most urgent first. */
export const priorities = ['HIGH', 'MEDIUM', 'NORMAL'] as const satisfies readonly Priority[];
