-- What the sink of contract version 1 sends (commit 11eca87).
WITH written AS (
  INSERT INTO biometric_events AS stored (device_type, user_id, resource_id, revision, event_id, source, kind, priority, local_date, deleted, hrv, hrv_sdnn, sleep_score, recovery_score, stress_level, resting_heart_rate, activity_data, flags, triggers, raw_topic, raw_partition, raw_offset, timestamp, received_at, baseline_hrv_mean, baseline_hrv_sd, baseline_nights, supersedes_event_id, supersedes_priority)
  SELECT event.device_type, event.user_id, event.resource_id, event.revision, event.event_id, event.source, event.kind, event.priority, event.local_date, event.deleted, event.hrv, event.hrv_sdnn, event.sleep_score, event.recovery_score, event.stress_level, event.resting_heart_rate, event.activity_data, event.flags, event.triggers, event.raw->>'topic', (event.raw->>'partition')::integer, (event.raw->>'offset')::bigint, timestamptz 'epoch' + event.timestamp / 3600000 * interval '1 hour' + event.timestamp % 3600000 * interval '1 millisecond', timestamptz 'epoch' + event.received_at / 3600000 * interval '1 hour' + event.received_at % 3600000 * interval '1 millisecond', (event.baseline->>'hrv_mean')::double precision, (event.baseline->>'hrv_sd')::double precision, (event.baseline->>'nights')::integer, event.supersedes->>'event_id', event.supersedes->>'priority'
  FROM json_to_recordset($1::json) AS event (
    device_type text, user_id text, resource_id text, revision bigint, event_id text, source text, kind text,
    priority text, local_date date, deleted boolean, hrv double precision, hrv_sdnn double precision,
    sleep_score double precision, recovery_score double precision, stress_level double precision,
    resting_heart_rate double precision, activity_data jsonb, flags text[], triggers jsonb,
    timestamp bigint, received_at bigint, baseline json, supersedes json, raw json
  )
  ON CONFLICT (device_type, user_id, resource_id) DO UPDATE
  SET revision = excluded.revision, event_id = excluded.event_id, source = excluded.source, kind = excluded.kind, priority = excluded.priority, local_date = excluded.local_date, deleted = excluded.deleted, hrv = excluded.hrv, hrv_sdnn = excluded.hrv_sdnn, sleep_score = excluded.sleep_score, recovery_score = excluded.recovery_score, stress_level = excluded.stress_level, resting_heart_rate = excluded.resting_heart_rate, activity_data = excluded.activity_data, flags = excluded.flags, triggers = excluded.triggers, raw_topic = excluded.raw_topic, raw_partition = excluded.raw_partition, raw_offset = excluded.raw_offset, timestamp = excluded.timestamp, received_at = excluded.received_at, baseline_hrv_mean = excluded.baseline_hrv_mean, baseline_hrv_sd = excluded.baseline_hrv_sd, baseline_nights = excluded.baseline_nights, supersedes_event_id = excluded.supersedes_event_id, supersedes_priority = excluded.supersedes_priority, stored_at = now()
  WHERE (stored.revision, stored.raw_offset) < (excluded.revision, excluded.raw_offset)
  RETURNING xmax = 0 AS inserted
), rejected AS (
  INSERT INTO sink_rejects (topic, partition, "offset", reason)
  SELECT topic, partition, "offset", reason
  FROM json_to_recordset($2::json) AS reject (topic text, partition integer, "offset" bigint, reason text)
  ON CONFLICT DO NOTHING
)
SELECT
  count(*) FILTER (WHERE inserted)::integer AS inserted,
  count(*) FILTER (WHERE NOT inserted)::integer AS updated
FROM written
