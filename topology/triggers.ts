import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { BiometricEvent, Trigger } from '../schemas/biometric-event.ts';
import { nameUuid } from './identity.ts';
import { priorityOf, severities } from './priority.ts';

const metrics = ['hrv', 'sleep_score', 'recovery_score', 'stress_level', 'resting_heart_rate'] as const;

const ruleSchema = z.strictObject({
  /** What is raised. */
  type: z.string().min(1).max(64),
  severity: z.enum(severities),
  metric: z.enum(metrics),
  /** Raised when the metric is below this, and, where given, at least `atLeast`. */
  below: z.number(),
  atLeast: z.number().optional(),
  recommendation: z.string().min(1).max(128),
});

/** One row of the rules: a metric below a threshold raises a trigger. */
export type TriggerRule = Readonly<z.infer<typeof ruleSchema>>;

/** The rules that hold unless TRIGGER_RULES_FILE names others. */
export const defaultRules: readonly TriggerRule[] = [
  {
    type: 'URGENT_INTERVENTION',
    severity: 'CRITICAL',
    metric: 'hrv',
    below: 25,
    recommendation: 'immediate_stress_protocol',
  },
  {
    type: 'STRESS_INTERVENTION',
    severity: 'HIGH',
    metric: 'hrv',
    below: 40,
    atLeast: 25,
    recommendation: 'breathing_exercise',
  },
  {
    type: 'RECOVERY_INTERVENTION',
    severity: 'MEDIUM',
    metric: 'sleep_score',
    below: 70,
    recommendation: 'sleep_optimization',
  },
];

/** A rules file is not usable; names the file and the places in it. */
export class TriggerRulesError extends Error {
  override readonly name = 'TriggerRulesError';
}

/**
 * Reads rules from a JSON file: an array of rows as in `defaultRules`.
 * @throws TriggerRulesError naming the file and every faulty row.
 */
export function readRules(file: string): readonly TriggerRule[] {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'not JSON';
    throw new TriggerRulesError(`TRIGGER_RULES_FILE ${file} cannot be read: ${code}`);
  }
  const parsed = z.array(ruleSchema).safeParse(json);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `[${path.join('.')}] ${message}`).join('; ');
  throw new TriggerRulesError(`TRIGGER_RULES_FILE ${file} does not hold rules: ${faults}`);
}

/**
 * The operator that raises triggers and gives the event its priority. Zero is a value, null never triggers; a
 * deletion measures nothing and so raises nothing.
 */
export function analyze(rules: readonly TriggerRule[]): (event: BiometricEvent) => BiometricEvent {
  return (event) => {
    const triggers = rules.flatMap((rule) => raise(rule, event));
    return triggers.length === 0 ? event : { ...event, triggers, priority: priorityOf(triggers) };
  };
}

function raise(rule: TriggerRule, event: BiometricEvent): Trigger[] {
  const value = event[rule.metric];
  if (value === null || value >= rule.below || (rule.atLeast !== undefined && value < rule.atLeast))
    return [];
  const { type, severity, metric, below: threshold, recommendation } = rule;
  // Until alerts are remembered, each is the first.
  return [
    { type, severity, metric, value, threshold, recommendation, alert_id: alertId(event, type), first: true },
  ];
}

/** One alert per user, device, kind of alert and night: totals that are sent all day long raise the same one. */
function alertId(event: BiometricEvent, type: string): string {
  const nightly = event.kind === 'sleep' || event.kind === 'recovery' || event.kind === 'daily';
  const night = nightly ? (event.local_date ?? event.resource_id) : event.resource_id;
  return nameUuid('alert', event.device_type, event.user_id, type, night);
}
