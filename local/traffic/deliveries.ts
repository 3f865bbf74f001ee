import { seededRandom } from '../../streams/index.ts';
import type { VendorName } from '../../vendors/index.ts';
import {
  healthkitToken,
  ouraSignature,
  plainSignature,
  terraSignature,
  whoopSignature,
  type Signature,
} from './signatures.ts';

/** The secrets that sample deliveries are signed with. */
export type Secrets = Readonly<Record<VendorName, string>>;

/** The event that a delivery must lead to, known from how the delivery was made and from nothing else. */
export interface ExpectedEvent {
  readonly device_type: VendorName;
  readonly user_id: string;
  readonly resource_id: string;
  readonly timestamp: number;
  readonly hrv: number | null;
  readonly sleep_score: number | null;
  readonly recovery_score: number | null;
  readonly stress_level: number | null;
  readonly activity_data: Readonly<Record<string, number>>;
  readonly priority: 'HIGH' | 'MEDIUM' | 'NORMAL';
  /** Types of the triggers, in the order of the rules. */
  readonly triggers: readonly string[];
}

/** What has to become of a delivery. */
export type Expectation =
  | { readonly outcome: 'event'; readonly status: 200; readonly event: ExpectedEvent }
  | { readonly outcome: 'dead_letter'; readonly status: 200 | 400 }
  | { readonly outcome: 'dropped'; readonly status: 200 }
  | { readonly outcome: 'refused'; readonly status: 401 };

/** One webhook request of the sample traffic. */
export interface Delivery {
  readonly kind: string;
  readonly device: VendorName;
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
  readonly expect: Expectation;
}

/** A reading as its sender knows it, before it is written in one of the formats. */
interface Sample {
  readonly device: VendorName;
  readonly user: string;
  readonly timestamp: number;
  readonly hrv: number | null;
  readonly sleep: number | null;
  readonly recovery: number | null;
  readonly stress: number | null;
  readonly activity: Readonly<Record<string, number>>;
}

/** One block of the schedule; it repeats, so that even a short run sends every kind, and 1 % is malformed. */
const schedule: readonly string[] = [
  ...Array.from({ length: 18 }, () => 'oura_reading'),
  ...Array.from({ length: 18 }, () => 'oura_signed_reading'),
  ...Array.from({ length: 16 }, () => 'whoop_reading'),
  ...Array.from({ length: 8 }, () => 'terra_reading'),
  ...Array.from({ length: 8 }, () => 'terra_dialect_reading'),
  ...Array.from({ length: 14 }, () => 'healthkit_reading'),
  ...Array.from({ length: 4 }, () => 'retry'),
  ...Array.from({ length: 4 }, () => 'correction'),
  ...Array.from({ length: 3 }, () => 'oura_notification'),
  ...Array.from({ length: 2 }, () => 'whoop_notification'),
  'terra_control',
  'malformed',
  'bad_signature',
  'bad_signature',
  'bad_signature',
];

/**
 * Endless sample traffic: the same seed and start give the same deliveries.
 * @param options.startMs - measurements are dated within the twelve hours before it.
 */
export function* deliveries(options: {
  seed: number;
  startMs: number;
  secrets: Secrets;
}): Generator<Delivery> {
  const random = seededRandom(options.seed);
  const sent: { sample: Sample; delivery: Delivery }[] = [];
  let count = 0;
  for (;;) {
    for (const kind of shuffled(schedule, random)) {
      count += 1;
      const context = { ...options, random, count };
      const earlier = sent[Math.floor(random() * sent.length)];
      if (earlier !== undefined && kind === 'retry') {
        yield { ...earlier.delivery, kind };
      } else if (earlier !== undefined && kind === 'correction') {
        // A vendor that recomputed: the same moment, other values.
        const corrected = { ...values(context), ...pick(earlier.sample) };
        yield { ...reading(kind, corrected, context), kind };
      } else if (kind.endsWith('reading') || kind === 'retry' || kind === 'correction') {
        const sample = newSample(kind.endsWith('reading') ? kind : 'oura_reading', context);
        const delivery = reading(kind.endsWith('reading') ? kind : 'oura_reading', sample, context);
        sent.push({ sample, delivery });
        if (sent.length > 200) sent.shift();
        yield delivery;
      } else {
        yield other(kind, context);
      }
    }
  }
}

interface Context {
  readonly random: () => number;
  readonly count: number;
  readonly startMs: number;
  readonly secrets: Secrets;
}

function newSample(kind: string, context: Context): Sample {
  const device = kind.split('_')[0] as VendorName;
  // Users of different vendors may have the same id and are different people; one is not ASCII.
  const user =
    ['user-1', 'user-2', 'user-3', 'user-4', '10129', 'athlete-42 å'][Math.floor(context.random() * 6)] ?? '';
  const timestamp =
    context.startMs - 12 * 3_600_000 + context.count * 1_000 + Math.floor(context.random() * 1_000);
  const withActivity = kind === 'terra_dialect_reading' && context.random() < 0.5;
  return {
    ...values(context),
    device,
    user,
    timestamp,
    activity: withActivity
      ? { steps: Math.floor(context.random() * 12_000), active_seconds: 60 * context.count }
      : {},
  };
}

function pick({
  device,
  user,
  timestamp,
  activity,
}: Sample): Omit<Sample, 'hrv' | 'sleep' | 'recovery' | 'stress'> {
  return { device, user, timestamp, activity };
}

/** Mostly calm, sometimes a poor night, now and then somebody who needs help at once. */
function values({ random }: Context): Pick<Sample, 'hrv' | 'sleep' | 'recovery' | 'stress'> {
  const within = (low: number, high: number): number => Math.round((low + random() * (high - low)) * 10) / 10;
  const mood = random();
  return {
    hrv: mood < 0.1 ? within(8, 24) : mood < 0.3 ? within(26, 39) : within(41, 95),
    sleep: random() < 0.15 ? Math.round(within(0, 69)) : random() < 0.1 ? null : Math.round(within(70, 100)),
    recovery: random() < 0.2 ? null : Math.round(within(0, 100)),
    stress: random() < 0.5 ? null : Math.round(within(0, 100)),
  };
}

function reading(kind: string, sample: Sample, context: Context): Delivery {
  const dialect = kind === 'terra_dialect_reading' || Object.keys(sample.activity).length > 0;
  const body = Buffer.from(JSON.stringify(dialect ? terraBody(sample) : simpleBody(sample)), 'utf8');
  const secret = context.secrets[sample.device];
  const headers =
    kind === 'oura_signed_reading'
      ? ouraSignature(secret, body)
      : kind === 'healthkit_reading'
        ? healthkitToken(secret, sample.user)
        : plainSignature(secret, body);
  return {
    kind,
    device: sample.device,
    body,
    headers,
    expect: { outcome: 'event', status: 200, event: expected(sample, dialect) },
  };
}

function simpleBody({ user, timestamp, hrv, sleep, recovery, stress }: Sample): unknown {
  return {
    user_id: user,
    timestamp: new Date(timestamp).toISOString(),
    ...(hrv === null ? {} : { hrv_data: { rmssd: hrv } }),
    ...(sleep === null ? {} : { sleep: { score: sleep } }),
    ...(recovery === null ? {} : { recovery: { score: recovery } }),
    ...(stress === null ? {} : { stress: { level: stress } }),
  };
}

function terraBody({ user, timestamp, hrv, sleep, activity }: Sample): unknown {
  const { active_seconds: seconds, ...metrics } = activity;
  return {
    user: { user_id: user },
    ts: timestamp,
    heart_rate_data: { hrv },
    sleep_data: { score: sleep },
    activity_data: {
      ...metrics,
      ...(seconds === undefined ? {} : { active_minutes: seconds / 60 }),
      floors: 3,
    },
  };
}

function expected(sample: Sample, dialect: boolean): ExpectedEvent {
  const { hrv, sleep } = sample;
  const triggers: string[] = [];
  if (hrv !== null && hrv < 25) triggers.push('URGENT_INTERVENTION');
  else if (hrv !== null && hrv < 40) triggers.push('STRESS_INTERVENTION');
  if (sleep !== null && sleep < 70) triggers.push('RECOVERY_INTERVENTION');
  return {
    device_type: sample.device,
    user_id: sample.user,
    resource_id: new Date(sample.timestamp).toISOString(),
    timestamp: sample.timestamp,
    hrv,
    sleep_score: sleep,
    recovery_score: dialect ? null : sample.recovery,
    stress_level: dialect ? null : sample.stress,
    activity_data: sample.activity,
    priority: hrv !== null && hrv < 25 ? 'HIGH' : hrv !== null && hrv < 40 ? 'MEDIUM' : 'NORMAL',
    triggers,
  };
}

function other(kind: string, context: Context): Delivery {
  const { secrets, count, startMs } = context;
  const nonce = `${startMs}-${count}`;
  const at = (
    device: VendorName,
    body: string,
    expect: Expectation,
    sign: Signature = plainSignature,
  ): Delivery => {
    const bytes = Buffer.from(body, 'utf8');
    return { kind, device, body: bytes, headers: sign(secrets[device], bytes), expect };
  };
  const dropped: Expectation = { outcome: 'dropped', status: 200 };
  switch (kind) {
    case 'oura_notification':
      return at(
        'oura',
        JSON.stringify({
          event_type: 'update',
          data_type: 'daily_sleep',
          object_id: nonce,
          event_time: new Date(startMs).toISOString(),
          user_id: 'user-1',
        }),
        dropped,
        ouraSignature,
      );
    case 'whoop_notification':
      return at(
        'whoop',
        JSON.stringify({ user_id: 10129, id: nonce, type: 'recovery.updated', trace_id: nonce }),
        dropped,
        whoopSignature,
      );
    case 'terra_control':
      return at(
        'terra',
        JSON.stringify({ status: 'success', type: 'user_reauth', old_user: {}, new_user: {}, nonce }),
        dropped,
        terraSignature,
      );
    case 'malformed':
      return count % 2 === 0
        ? at('oura', `{"user_id":"user-1","cut off ${nonce}`, { outcome: 'dead_letter', status: 400 })
        : at('whoop', JSON.stringify({ timestamp: startMs, hrv_data: { rmssd: 50 }, nonce }), {
            outcome: 'dead_letter',
            status: 200,
          });
    default: {
      const unsigned = at('oura', JSON.stringify({ user_id: 'mallory', nonce }), {
        outcome: 'refused',
        status: 401,
      });
      return { ...unsigned, headers: { signature: '0'.repeat(64) } };
    }
  }
}

function shuffled(list: readonly string[], random: () => number): string[] {
  const copy = [...list];
  for (let at = copy.length - 1; at > 0; at -= 1) {
    const other = Math.floor(random() * (at + 1));
    const swap = copy[at] ?? '';
    copy[at] = copy[other] ?? '';
    copy[other] = swap;
  }
  return copy;
}
