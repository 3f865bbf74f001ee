import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { BiometricEvent, Trigger } from '../schemas/biometric-event.ts';
import { nameUuid } from './identity.ts';
import { priorityOf, severities } from './priority.ts';
import { maxAlerts } from './version-rows.ts';

const metrics = ['hrv', 'sleep_score', 'recovery_score', 'stress_level', 'resting_heart_rate'] as const;

const raised = {
  /** The type of the trigger. */
  type: z.string().min(1).max(64),
  severity: z.enum(severities),
  recommendation: z.string().min(1).max(128),
};

/** Raised when the metric is below `below` and, if set, at least `atLeast`. */
const thresholdRule = z.strictObject({
  ...raised,
  metric: z.enum(metrics),
  below: z.number(),
  atLeast: z.number().optional(),
});

/** Raised when the HRV is more than `belowBaselineBy` standard deviations below its own baseline of enough nights. */
const baselineRule = z.strictObject({
  ...raised,
  metric: z.literal('hrv'),
  belowBaselineBy: z.number().positive(),
  // The deviation over a few nights says little.
  atLeastNights: z.int().min(7).default(7),
});

/** One row of the rules: a metric below a threshold, or the HRV below the user's own baseline, raises a trigger. */
export type TriggerRule = Readonly<z.infer<typeof thresholdRule>> | Readonly<z.infer<typeof baselineRule>>;

/** The rules in use unless TRIGGER_RULES_FILE names others. */
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

/** A rules file cannot be used; the message names the file and the faulty places. */
export class TriggerRulesError extends Error {
  override readonly name = 'TriggerRulesError';
}

/**
 * Reads rules from a JSON file: an array of rows as in `defaultRules`, or with `belowBaselineBy` (standard deviations)
 * and optionally `atLeastNights` (at least and by default 7) in place of `below` and `atLeast`.
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
  const faulty = (faults: string): TriggerRulesError =>
    new TriggerRulesError(`TRIGGER_RULES_FILE ${file} does not hold rules: ${faults}`);
  if (!Array.isArray(json)) throw faulty('it is not an array');
  const faults: string[] = [];
  const rules = json.flatMap((row: unknown, index): TriggerRule[] => {
    const parsed = ruleSchema(row).safeParse(row);
    if (parsed.success) return [parsed.data];
    for (const { path, message } of parsed.error.issues)
      faults.push(`[${[index, ...path].join('.')}] ${message}`);
    return [];
  });
  const types = new Set(rules.map(({ type }) => type)).size;
  if (types > maxAlerts) faults.push(`it has ${types} types, and an event can raise ${maxAlerts}`);
  if (faults.length > 0) throw faulty(faults.join('; '));
  return rules;
}

// Chosen by hand: a union would not say what is wrong with either kind.
function ruleSchema(row: unknown): typeof thresholdRule | typeof baselineRule {
  const isBaseline = typeof row === 'object' && row !== null && 'belowBaselineBy' in row;
  return isBaseline ? baselineRule : thresholdRule;
}

/**
 * The operator that raises triggers and sets the event's priority. Zero is a value, null never triggers; a deletion
 * measures nothing and so raises nothing.
 */
export function analyze(rules: readonly TriggerRule[]): (event: BiometricEvent) => BiometricEvent {
  return (event) => {
    let triggers: Trigger[] | undefined;
    for (const rule of rules) {
      const trigger = raise(rule, event);
      if (trigger === null) continue;
      triggers ??= [];
      triggers.push(trigger);
    }
    return triggers === undefined ? event : { ...event, triggers, priority: priorityOf(triggers) };
  };
}

function raise(rule: TriggerRule, event: BiometricEvent): Trigger | null {
  const value = event[rule.metric];
  if (value === null) return null;
  const threshold = thresholdOf(rule, event);
  if (threshold === null || value >= threshold) return null;
  if ('atLeast' in rule && rule.atLeast !== undefined && value < rule.atLeast) return null;
  const { type, severity, metric, recommendation } = rule;
  // The operator `alerts` decides whether it was raised before.
  return {
    type,
    severity,
    metric,
    value,
    threshold,
    recommendation,
    alert_id: alertId(event, type),
    first: true,
  };
}

/** The threshold of the rule for this event; null where there is none. */
function thresholdOf(rule: TriggerRule, { baseline }: BiometricEvent): number | null {
  if ('below' in rule) return rule.below;
  if (baseline === null || baseline.nights < rule.atLeastNights) return null;
  return baseline.hrv_mean - rule.belowBaselineBy * baseline.hrv_sd;
}

/** One alert per user, vendor, type and night: totals that are sent all day long raise the same one. */
function alertId(event: BiometricEvent, type: string): string {
  const nightly = event.kind === 'sleep' || event.kind === 'recovery' || event.kind === 'daily';
  const night = nightly ? (event.local_date ?? event.resource_id) : event.resource_id;
  return nameUuid('alert', event.device_type, event.user_id, type, night);
}
