-- Most events raise no trigger: the index leads past them.
CREATE INDEX biometric_events_triggered ON biometric_events (timestamp) WHERE triggers <> '[]'::jsonb;

-- One row for each trigger of the newest version of each resource.
CREATE VIEW biometric_triggers AS
SELECT
  event.device_type,
  event.user_id,
  event.resource_id,
  event.event_id,
  event.timestamp,
  event.local_date,
  event.priority,
  trigger.type,
  trigger.severity,
  trigger.metric,
  trigger.value,
  trigger.threshold,
  trigger.recommendation,
  trigger.alert_id,
  trigger.first
FROM biometric_events AS event
CROSS JOIN LATERAL jsonb_to_recordset(event.triggers) AS trigger (
  type text,
  severity text,
  metric text,
  value double precision,
  threshold double precision,
  recommendation text,
  alert_id text,
  first boolean
)
WHERE event.triggers <> '[]'::jsonb;
