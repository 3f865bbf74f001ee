/** Bodies of webhooks of a given size, in the simple format. */
import { seededRandom } from '../../streams/index.ts';
import { preloadStartMs } from './records.ts';

/**
 * Distinct bodies of just `bytes` bytes: a reading, and beside it a field that nobody reads, of characters that do not
 * compress much.
 */
export function webhookBodies(options: { bytes: number; count: number; seed: number }): string[] {
  const random = seededRandom(options.seed);
  const between = (low: number, high: number): number => low + Math.floor(random() * (high - low));
  return Array.from({ length: options.count }, (_, at) => {
    const time = new Date(preloadStartMs() + at * 1_000).toISOString();
    const reading =
      `{"user_id":"user-${between(0, 1_000)}","timestamp":"${time}","hrv_data":{"rmssd":${between(80, 1_200) / 10}},` +
      `"sleep":{"score":${between(30, 101)}},"recovery":{"score":${between(1, 101)}},"stress":{"level":${between(1, 11)}},"note":"`;
    const padding = options.bytes - reading.length - 2;
    if (padding < 0) throw new RangeError(`a body has at least ${reading.length + 2} bytes`);
    const text = Buffer.from(Array.from({ length: padding }, () => between(0, 256))).toString('base64');
    return `${reading}${text.slice(0, padding)}"}`;
  });
}
