/** Loaded before a command (`--import`): prints what its process took of the machine when it ends, all threads together. */
import { writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';

// Threads load it as well.
if (isMainThread)
  process.once('exit', () => {
    const { userCPUTime, systemCPUTime, maxRSS } = process.resourceUsage();
    const usage = { cpu_seconds: (userCPUTime + systemCPUTime) / 1e6, rss_peak_mb: maxRSS / 1_024 };
    writeSync(1, `${JSON.stringify(usage)}\n`);
  });
