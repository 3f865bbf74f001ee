import { Client } from 'pg';
import { resourceOf, sameEvent, type Balance } from './account.ts';
import type { ExpectedEvent } from './deliveries.ts';

interface Row extends ExpectedEvent {
  readonly raw: string;
}

/** How many of the expected resources Postgres holds in their newest version, value for value. */
export async function countRows(client: Client, newest: Balance['newest'], since: Date): Promise<number> {
  const { rows } = await client.query<Row>(
    `SELECT device_type, user_id, resource_id, (extract(epoch FROM timestamp) * 1000)::float8 AS timestamp,
            hrv, sleep_score, recovery_score, stress_level, activity_data, priority,
            coalesce((SELECT array_agg(trigger ->> 'type') FROM jsonb_array_elements(triggers) AS trigger), '{}') AS triggers,
            raw_topic || '-' || raw_partition || '@' || raw_offset AS raw
     FROM biometric_events WHERE received_at >= $1`,
    [since],
  );
  const stored = new Map(rows.map((row) => [resourceOf(row), row]));
  return newest.filter(({ event, raw }) => {
    const row = stored.get(resourceOf(event));
    return row?.raw === raw.ref && sameEvent(row, event);
  }).length;
}
