-- To find an event by the event_id in a log line, a header or the supersedes of another. Not unique: an event that only
-- corrects a rule keeps its event_id. Built while others write, and not in a transaction (postgres/migrate.ts).
CREATE INDEX CONCURRENTLY IF NOT EXISTS biometric_events_event_id ON biometric_events (event_id);
