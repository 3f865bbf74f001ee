/**
 * Runs the stateless topology until it has committed what it expects, or until SIGTERM, and tells what that took:
 * from the first record in its source to the moment when the group's committed offsets cover all records.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { kafkaClient, type Admin } from '../../../kafka/client.ts';
import { topicNames } from '../../../schemas/topics.ts';
import { committedRecords } from '../committed-offsets.ts';
import { monotonicMs, peakMiB, residentMiB } from '../machine.ts';
import { statelessStreams, type Progress, type StatelessSettings } from '../stateless.ts';
import { silentLog } from '../../streams/log.ts';
import { answer, settings as given } from './settings.ts';
import { vendorNames } from '../../../vendors/index.ts';

const settings = given() as StatelessSettings;
const { brokers, prefix, applicationId, expect } = settings;
const startedAtMs = monotonicMs() - performance.now();

let isTold = false;
process.once('SIGTERM', () => (isTold = true));

const { streams, progress } = statelessStreams(settings);
let failed: unknown;
streams.failed.catch((error: unknown) => (failed = error));
const admin = kafkaClient(
  { brokers: brokers.split(',') },
  { clientId: 'bench-offsets', log: silentLog },
).admin();
await admin.connect();
await streams.start();
const far = await untilDone(admin);
const endedAtMs = monotonicMs();
const { user, system } = process.cpuUsage();
const cpuSeconds = (user + system) / 1e6;
const [rss, rssPeak] = [residentMiB('self'), peakMiB('self')];
await streams.close();
await admin.disconnect();
const { records, first } = far;
if (first === null) {
  // The other instances were faster.
  answer({ records, first_record_at: Date.now(), cpu_seconds_before_first_record: cpuSeconds });
  process.exit(0);
}
const seconds = (endedAtMs - first.atMs) / 1_000;
answer({
  records,
  first_record_at: Date.now() - (monotonicMs() - first.atMs),
  seconds,
  records_per_s: records / seconds,
  cpu_seconds: cpuSeconds,
  cpu_seconds_before_first_record: first.cpuMicroseconds / 1e6,
  cpu_seconds_since_first_record: cpuSeconds - first.cpuMicroseconds / 1e6,
  rss_mb: rss,
  rss_peak_mb: rssPeak,
  startup_s: (first.atMs - startedAtMs) / 1_000,
});

async function untilDone(client: Admin): Promise<Progress> {
  for (;;) {
    if (failed !== undefined) throw failed as Error;
    const now = progress;
    if (isTold) return now;
    if (expect === undefined || now.records < expect) {
      await sleep(2);
      continue;
    }
    // Asked only when all has been processed, as the peer does.
    if ((await committedRecords(client, applicationId, topicNames(prefix, vendorNames))) >= expect)
      return now;
    await sleep(2);
  }
}
