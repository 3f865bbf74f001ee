/** The raw records that are preloaded: the same again for the same seed. */
import { dayMs } from '../../vendors/instant.ts';
import { seededRandom } from '../../streams/index.ts';
import { vendorNames, type VendorName } from '../../vendors/index.ts';

export const users = 20_000;
const malformedShare = 0.001;

export interface RawBody {
  readonly device: VendorName;
  readonly user: string;
  readonly body: Buffer;
  readonly isMalformed: boolean;
}

/** When the first reading of a preload was measured: some weeks ago, so that none of any count lies in the future. */
export function preloadStartMs(): number {
  return Math.floor(Date.now() / dayMs) * dayMs - 30 * dayMs;
}

/**
 * Readings of all vendorNames in turn, 10 ms apart, in the simple format (Terra's in its dialect). A tenth has an HRV that
 * is HIGH, a fifth one that is MEDIUM; one in a thousand is cut short and no JSON.
 */
export function* rawBodies(options: { count: number; seed: number; startMs: number }): Generator<RawBody> {
  const random = seededRandom(options.seed);
  const between = (low: number, high: number): number => low + Math.floor(random() * (high - low));
  for (let at = 0; at < options.count; at += 1) {
    const device = vendorNames[at % vendorNames.length] ?? 'oura';
    const user = `user-${between(0, users)}`;
    const band = random();
    const tenths = band < 0.1 ? between(80, 250) : band < 0.3 ? between(250, 400) : between(400, 1_200);
    const sleep = random() < 0.15 ? between(30, 70) : between(70, 101);
    const percent = between(1, 101);
    const level = between(1, 11);
    const isMalformed = random() < malformedShare;
    const time = new Date(options.startMs + at * 10).toISOString();
    const text = readingText(device, { user, time, hrv: tenths / 10, sleep, percent, level });
    const body = Buffer.from(isMalformed ? text.slice(0, -1 - (at % 40)) : text);
    yield { device, user, body, isMalformed };
  }
}

/** A reading in the format of a device: Terra's is a dialect of its own. */
export function readingText(
  device: VendorName,
  reading: { user: string; time: string; hrv: number; sleep: number; percent: number; level: number },
): string {
  const { user, time, hrv, sleep, percent, level } = reading;
  return device === 'terra'
    ? `{"user":{"user_id":"${user}"},"ts":"${time}","heart_rate_data":{"hrv":${hrv}},"sleep_data":{"score":${sleep}},` +
        `"activity_data":{"steps":${percent * 150},"active_minutes":${level * 12}}}`
    : `{"user_id":"${user}","timestamp":"${time}","hrv_data":{"rmssd":${hrv}},"sleep":{"score":${sleep}},` +
        `"recovery":{"score":${percent}},"stress":{"level":${level}}}`;
}
