-- What version 2 of the contract adds. A stored row is now replaced by a higher (generation, revision, raw_offset) only.
-- Both columns are added without rewriting the table.
ALTER TABLE biometric_events
  ADD COLUMN generation bigint NOT NULL DEFAULT 0,
  -- The alerts that the version before had raised. NULL when there was none, and in rows of a sink of contract version 1,
  -- which does not read them.
  ADD COLUMN supersedes_alert_ids text[];

-- A sink of contract version 1 may run next to this one. Its update sets every column but the new ones, so that the alerts
-- would stay those of the version it replaced. This sink puts the event_id in front of the alerts that it updates a row to:
-- alerts without it belong to another version.
CREATE FUNCTION biometric_events_own_alert_ids() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.supersedes_alert_ids :=
    CASE WHEN NEW.supersedes_alert_ids[1] = NEW.event_id THEN NEW.supersedes_alert_ids[2:] END;
  RETURN NEW;
END
$$;
CREATE TRIGGER own_alert_ids BEFORE UPDATE OF event_id ON biometric_events
FOR EACH ROW EXECUTE FUNCTION biometric_events_own_alert_ids();
