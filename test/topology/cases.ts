/** Raw webhooks and what must come of each: run in the test driver and through the real process, broker and registry. */
import type { BiometricEvent, Priority } from '../../schemas/biometric-event.ts';
import { contentHash } from '../../topology/events.ts';
import { nameUuid } from '../../topology/identity.ts';
import { rawHeader } from '../../schemas/raw-record.ts';
import type { OutputRecord } from '../../streams/index.ts';
import type { VendorName } from '../../vendors/index.ts';
import { aReading } from './support.ts';

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** When the ingress takes all of them: near the present, because topics delete what is old. */
export const receivedAt = Date.now() - (Date.now() % 1_000);

export type Outcome =
  | { readonly type: 'event'; readonly priority: Priority; readonly fields: Partial<BiometricEvent> }
  | { readonly type: 'deadLetter'; readonly code: string; readonly message: RegExp }
  | { readonly type: 'drop' };

export interface WebhookCase {
  readonly title: string;
  readonly device: VendorName;
  readonly body: string;
  readonly partition: number;
  readonly outcome: Outcome;
}

const simple = (changes: object): string =>
  JSON.stringify({ user_id: 'test_user', timestamp: new Date(receivedAt).toISOString(), ...changes });

const iso = (epochMs: number): string => new Date(epochMs).toISOString();

/** A reading of a user whose nights are sent again and corrected. */
const corrected = (day: number, rmssd: number): string =>
  simple({ user_id: 'corrected', timestamp: iso(receivedAt + day * dayMs), hrv_data: { rmssd } });

/** The event id of the version with this HRV of their last night. */
function correctedId(hrv: number): string {
  const reading = aReading({ source: 'whoop', hrv, timestamp: receivedAt });
  const id = iso(receivedAt);
  return nameUuid('event', 'whoop', 'corrected', id, String(receivedAt), contentHash(reading));
}

export const webhookCases: readonly WebhookCase[] = [
  {
    title: 'a critical HRV',
    device: 'oura',
    body: '{"user_id":"test_user","timestamp":"2025-07-30T12:00:00Z","hrv_data":{"rmssd":20},"sleep":{"score":85},"recovery":{"score":75}}',
    partition: 0,
    outcome: {
      type: 'event',
      priority: 'HIGH',
      fields: {
        device_type: 'oura',
        user_id: 'test_user',
        hrv: 20,
        sleep_score: 85,
        recovery_score: 75,
        stress_level: null,
        timestamp: Date.parse('2025-07-30T12:00:00Z'),
        resource_id: '2025-07-30T12:00:00.000Z',
        revision: receivedAt,
        flags: ['stale'],
        kind: 'reading',
      },
    },
  },
  {
    title: 'a low HRV of a user whose number a double cannot hold',
    device: 'whoop',
    body: '{"user_id":9007199254740993,"timestamp":1753876800,"hrv_data":{"rmssd":39.999}}',
    partition: 1,
    outcome: {
      type: 'event',
      priority: 'MEDIUM',
      fields: {
        device_type: 'whoop',
        user_id: '9007199254740993',
        hrv: 39.999,
        timestamp: 1_753_876_800_000,
      },
    },
  },
  {
    title: "Terra's dialect, and a poor night",
    device: 'terra',
    body: JSON.stringify({
      user: { user_id: 'terra-1', reference_id: 'athlete-42' },
      ts: receivedAt,
      heart_rate_data: { hrv: 40 },
      sleep_data: { score: 0 },
      activity_data: { steps: 11_234, active_minutes: 90, mood: 7 },
    }),
    partition: 2,
    outcome: {
      type: 'event',
      priority: 'NORMAL',
      fields: {
        user_id: 'athlete-42',
        hrv: 40,
        sleep_score: 0,
        activity_data: { steps: 11_234, active_seconds: 5_400 },
        flags: [],
      },
    },
  },
  {
    title: 'a measurement of 400 days ago',
    device: 'healthkit',
    body: simple({ timestamp: iso(receivedAt - 400 * dayMs), hrv_data: { rmssd: 60 } }),
    partition: 3,
    outcome: {
      type: 'event',
      priority: 'NORMAL',
      fields: { timestamp: receivedAt - 400 * dayMs, flags: ['stale'] },
    },
  },
  {
    title: 'a measurement of three days ahead',
    device: 'healthkit',
    body: simple({ timestamp: iso(receivedAt + 3 * dayMs), hrv_data: { rmssd: 61 } }),
    partition: 3,
    outcome: {
      type: 'event',
      priority: 'NORMAL',
      fields: { timestamp: receivedAt + 3 * dayMs, flags: ['future_timestamp'] },
    },
  },
  {
    title: 'a body of 1.1 MiB, nearly all of it of no interest',
    device: 'oura',
    body: simple({ hrv_data: { rmssd: 62 }, padding: 'x'.repeat(1.1 * 1024 * 1024) }),
    partition: 0,
    outcome: { type: 'event', priority: 'NORMAL', fields: { hrv: 62 } },
  },
  {
    title: 'a truncated body',
    device: 'oura',
    body: '{"user_id":"planted-3d90","timestamp":',
    partition: 0,
    outcome: { type: 'deadLetter', code: 'NOT_JSON', message: /at byte 38 of 38$/ },
  },
  {
    title: 'a large body that is not JSON',
    device: 'terra',
    body: 'planted-3d90 '.repeat(200_000),
    partition: 1,
    outcome: { type: 'deadLetter', code: 'NOT_JSON', message: /at byte 0 of 2600000$/ },
  },
  {
    title: 'a reading without a user',
    device: 'whoop',
    body: '{"timestamp":"2025-07-30T12:00:00Z","hrv_data":{"rmssd":20},"note":"planted-3d90"}',
    partition: 2,
    outcome: { type: 'deadLetter', code: 'MISSING_USER_ID', message: /^user_id is missing/ },
  },
  {
    title: 'a number that is a text',
    device: 'oura',
    body: simple({ hrv_data: { rmssd: 'planted-3d90' } }),
    partition: 3,
    outcome: { type: 'deadLetter', code: 'INVALID_FIELD', message: /^hrv_data\.rmssd / },
  },
  {
    title: 'a thin notification',
    device: 'oura',
    body: '{"event_type":"update","data_type":"daily_sleep","object_id":"a3b0","event_time":"2026-06-10T06:41:07Z","user_id":"u"}',
    partition: 1,
    outcome: { type: 'drop' },
  },
  {
    title: 'a control event',
    device: 'terra',
    body: '{"type":"deauth","message":"planted-3d90"}',
    partition: 0,
    outcome: { type: 'drop' },
  },
  {
    title: 'a night of a second user',
    device: 'whoop',
    body: corrected(-1, 50),
    partition: 3,
    outcome: { type: 'event', priority: 'NORMAL', fields: { baseline: null, supersedes: null } },
  },
  {
    title: 'their next night, below their own baseline and below the threshold',
    device: 'whoop',
    body: corrected(0, 30),
    partition: 3,
    outcome: {
      type: 'event',
      priority: 'MEDIUM',
      fields: { event_id: correctedId(30), baseline: { hrv_mean: 50, hrv_sd: 0, nights: 1 } },
    },
  },
  {
    title: 'a retry of it',
    device: 'whoop',
    body: corrected(0, 30),
    partition: 3,
    outcome: { type: 'drop' },
  },
  {
    title: 'a correction of it',
    device: 'whoop',
    body: corrected(0, 45),
    partition: 3,
    outcome: {
      type: 'event',
      priority: 'NORMAL',
      fields: {
        supersedes: {
          event_id: correctedId(30),
          priority: 'MEDIUM',
          alert_ids: [nameUuid('alert', 'whoop', 'corrected', 'STRESS_INTERVENTION', iso(receivedAt))],
        },
        triggers: [],
      },
    },
  },
];

/** The raw record of a case, as the ingress would have written it. */
export function rawRecord({ device, body, partition }: WebhookCase, topic: (device: VendorName) => string) {
  return {
    topic: topic(device),
    partition,
    key: Buffer.from(`key-${device}`),
    value: Buffer.from(body),
    timestamp: receivedAt,
    headers: {
      [rawHeader.receivedAt]: Buffer.from(String(receivedAt)),
      [rawHeader.scheme]: Buffer.from('plain'),
    },
  };
}

/** A record of a priority or dead-letter topic. */
export type Delivered = Pick<OutputRecord, 'topic' | 'partition' | 'key' | 'value' | 'headers' | 'timestamp'>;
