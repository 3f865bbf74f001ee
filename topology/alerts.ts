import type { BiometricEvent } from '../schemas/biometric-event.ts';
import { rememberedMs, sweptAfterMs, userKey, uuidBytes, writeUuid, type UserKey } from './packed.ts';
import { noteEmitted, type Revisions } from './revisions.ts';
import { serdes, type KeyValueStore, type RecordContext } from '../streams/index.ts';

/** An empty value: the key says that the alert was raised. */
const raised = Buffer.alloc(0);

/** The alerts of the last 35 days, as declared to the builder. */
export const alertsStore = {
  key: userKey,
  value: serdes.bytes,
  retentionMs: rememberedMs,
  sweepAfterMs: sweptAfterMs,
};

/**
 * The operator that distinguishes an alert from its repetitions: `first` is true when its alert_id was not raised within
 * the last 35 days. Each repetition renews them, so that an alert that continues for weeks is announced once. As the last
 * operator that changes events, it records each for the `supersedes` of the resource's next version.
 */
export function markFirst(
  event: BiometricEvent,
  _record: RecordContext,
  stores: { readonly alerts: KeyValueStore<UserKey, Buffer | null>; readonly revisions: Revisions },
): BiometricEvent[] {
  const { device_type: vendor, user_id: user } = event;
  noteEmitted(stores.revisions, event);
  if (event.triggers.length === 0) return [event];
  const triggers = event.triggers.map((trigger) => {
    const part = Buffer.allocUnsafe(uuidBytes);
    writeUuid(part, trigger.alert_id, 0);
    const key: UserKey = { vendor, user, part };
    const first = stores.alerts.get(key) === undefined;
    stores.alerts.put(key, raised);
    return { ...trigger, first };
  });
  return [{ ...event, triggers }];
}
