-- The newest version of every resource of a vendor; a retracted one stays, with deleted = true.
CREATE TABLE biometric_events (
  device_type text NOT NULL,
  user_id text NOT NULL,
  resource_id text NOT NULL,
  -- Which version is stored. A row is replaced only by a higher pair; offsets of one key are comparable, since a
  -- key stays in one partition of one raw topic.
  revision bigint NOT NULL,
  raw_offset bigint NOT NULL,
  raw_topic text NOT NULL,
  raw_partition integer NOT NULL,
  event_id text NOT NULL,
  source text NOT NULL,
  kind text NOT NULL,
  priority text NOT NULL,
  timestamp timestamptz NOT NULL,
  local_date date,
  received_at timestamptz NOT NULL,
  deleted boolean NOT NULL,
  hrv double precision,
  hrv_sdnn double precision,
  sleep_score double precision,
  recovery_score double precision,
  stress_level double precision,
  resting_heart_rate double precision,
  activity_data jsonb NOT NULL,
  flags text[] NOT NULL,
  baseline_hrv_mean double precision,
  baseline_hrv_sd double precision,
  baseline_nights integer,
  -- As an array in the row of its event, so that both change together whoever writes; biometric_triggers has columns.
  triggers jsonb NOT NULL,
  supersedes_event_id text,
  supersedes_priority text,
  stored_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (device_type, user_id, resource_id)
);

-- Rows arrive roughly in the order of their measurement: a few kilobytes of index where a b-tree takes gigabytes.
CREATE INDEX biometric_events_timestamp ON biometric_events USING brin (timestamp) WITH (autosummarize = on);
