/** Writes consumers/neuros/samples/events.json from golden cases: `npm run generate`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { format } from 'prettier';
import type { SampleFile } from '../../../consumers/neuros/samples/index.ts';
import { projectRoot } from '../../../process/root.ts';
import { createEncoder } from '../../../schemas/codec.ts';
import { goldenCases, outcomeOf } from '../../topology/golden.ts';

/**
 * The golden cases whose events are samples: of each vendor what a reader has to handle. All of them would be four times as
 * many.
 */
const chosen: Readonly<Record<string, readonly string[]>> = {
  oura: [
    'sleep-long-sleep-enriched',
    'sleep-critical-nap',
    'sleep-revised-and-deleted',
    'sleep-revised-to-rest',
    'sleep-and-nap-of-one-day',
    'sleep-days-late',
    'daily-sleep-zero-score',
    'daily-readiness-enriched',
    'daily-activity',
    'workout',
  ],
  whoop: [
    'sleep-west-of-greenwich-poor',
    'recovery-updated-scored',
    'recovery-of-a-nap',
    'cycle-running',
    'pair-of-deletions',
    'workout',
  ],
  terra: ['sleep', 'sleep-upload-types', 'daily-garmin-two-days', 'activity-deleted-with-values'],
  healthkit: ['simple-format', 'rmssd-beside-sdnn', 'overlapping-exports', 'workouts'],
};
const schemaId = 1;

/** From the root of the project. */
export const sampleFile = 'consumers/neuros/samples/events.json';

/** The text of events.json. */
export async function samplesText(): Promise<string> {
  const cases = goldenCases();
  const encode = createEncoder(schemaId);
  const samples: SampleFile['samples'][number][] = [];
  for (const [vendor, names] of Object.entries(chosen)) {
    for (const name of names) {
      const golden = cases.find((one) => one.device === vendor && one.name === name);
      if (golden === undefined) throw new Error(`there is no golden case ${vendor}/${name}`);
      const { events } = await outcomeOf(golden.records);
      const written = events
        .map(({ event }) => event)
        .sort((a, b) => a.raw.offset - b.raw.offset)
        .map((event, at) => ({
          vendor: golden.device,
          name: `${vendor}-${name}${events.length > 1 ? `-${at + 1}` : ''}`,
          about: golden.expected.about,
          event,
          value: encode(event).toString('base64'),
        }));
      samples.push(...written);
    }
  }
  const file: SampleFile = { schemaId, samples };
  return format(JSON.stringify(file), { parser: 'json', printWidth: 110 });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  writeFileSync(join(projectRoot(), sampleFile), await samplesText());
