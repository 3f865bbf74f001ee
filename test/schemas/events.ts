import { biometricEventAvsc, type BiometricEvent } from '../../schemas/biometric-event.ts';

/** A plausible event; tests change what they are about. */
export function anEvent(changes: Partial<BiometricEvent> = {}): BiometricEvent {
  return {
    event_id: '6f1c2a52-5d0e-5b86-9d0c-0d6f4f6f2b11',
    device_type: 'oura',
    source: 'oura',
    user_id: 'test_user',
    kind: 'reading',
    timestamp: Date.parse('2025-07-30T12:00:00Z'),
    local_date: null,
    hrv: 20,
    hrv_sdnn: null,
    sleep_score: 85,
    recovery_score: 75,
    stress_level: null,
    resting_heart_rate: null,
    activity_data: { steps: 100 },
    flags: ['zone_assumed_utc'],
    baseline: { hrv_mean: 50, hrv_sd: 3.5, nights: 7 },
    triggers: [
      {
        type: 'URGENT_INTERVENTION',
        severity: 'CRITICAL',
        metric: 'hrv',
        value: 20,
        threshold: 25,
        recommendation: 'immediate_stress_protocol',
        alert_id: '0d9e7a86-7f0c-5a38-8e0a-5f2f6d1c9e42',
        first: true,
      },
    ],
    priority: 'HIGH',
    resource_id: 'reading:2025-07-30T12:00:00.000Z',
    revision: Date.parse('2025-07-30T12:00:00Z'),
    deleted: false,
    supersedes: null,
    generation: 0,
    received_at: Date.parse('2025-07-30T12:00:01Z'),
    raw: { topic: 'raw.oura', partition: 1, offset: 42 },
    ...changes,
  };
}

/** A contract that neither reads what this one writes nor the other way round: a registry has it, or refuses it. */
export function incompatibleContract(): string {
  const schema = JSON.parse(biometricEventAvsc) as { fields: { name: string; type: unknown }[] };
  for (const field of schema.fields) if (field.name === 'revision') field.type = 'string';
  return JSON.stringify(schema);
}
