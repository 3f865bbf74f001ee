/**
 * Runs test files, each in a process of its own, several at a time: `files.ts CONCURRENCY TIMEOUT_MS FILE...`. Prints the
 * results of a file when it ends, then the time of each folder and the slowest files. Exits with 1 when a test failed.
 */
import { relative } from 'node:path';
import { run } from 'node:test';
import { spec as SpecReporter, type TestEvent } from 'node:test/reporters';

/** They begin first, so that none of them runs alone at the end. From the list that this prints. */
const slowest = [
  'docs/adding-a-vendor.test.ts',
  'local/stack.test.ts',
  'poison/foreign-batches.test.ts',
  'replay/dead-letters.test.ts',
  'replay/diff.test.ts',
  'replay/trace.test.ts',
  'package/package.test.ts',
  'local/three-brokers.test.ts',
  'replay/diff-promoted.test.ts',
  'replay/diff-start.test.ts',
  'edge/workers.test.ts',
  'edge/outage.test.ts',
  'bridge/whole-run.test.ts',
  'faults/promotion-kills.test.ts',
  'faults/contract-rollout.test.ts',
  'faults/three-brokers.test.ts',
  'faults/rolling-upgrade.test.ts',
  'faults/dead-leader.test.ts',
  'faults/two-generations.test.ts',
  'faults/promote-steps.test.ts',
];

const reasonLines = 12;

interface Finished {
  readonly file: string;
  readonly seconds: number;
  /** By the names of Node's own summary: `tests`, `pass`, `fail`, `cancelled`, `skipped`, `todo`. */
  readonly counts: ReadonlyMap<string, number>;
  /** The titles of the tests that failed, each with the first lines of its reason. */
  readonly failed: readonly string[];
}

const [concurrency = '', timeoutMs = '', ...files] = process.argv.slice(2);
const rank = (file: string): number => {
  const at = slowest.findIndex((name) => file.endsWith(name));
  return at === -1 ? slowest.length : at;
};
const queue = [...files].sort((a, b) => rank(a) - rank(b));
const finished: Finished[] = [];
const running = new Set<string>();
process.once('SIGTERM', () => {
  process.stderr.write(`stopped while these ran: ${[...running].join(', ')}\n`);
  process.exit(1);
});
const startedAt = performance.now();
await Promise.all(
  Array.from({ length: Number(concurrency) }, async () => {
    for (let file = queue.shift(); file !== undefined; file = queue.shift())
      finished.push(await runFile(file));
  }),
);
report();

async function runFile(file: string): Promise<Finished> {
  const begunAt = performance.now();
  const counts = new Map<string, number>();
  const reporter = new SpecReporter();
  const output: string[] = [];
  const failed: string[] = [];
  let hasTests = false;
  running.add(nameOf(file));
  reporter.on('data', (chunk: Buffer) => output.push(chunk.toString()));
  const events = run({ files: [file], timeout: Number(timeoutMs) }) as AsyncIterable<TestEvent>;
  for await (const event of events) {
    if (event.type === 'test:fail' && event.data.todo === undefined) failed.push(named(event.data));
    // A file without a test, or one that ends before its first, is reported as a test of its own name.
    if (event.type === 'test:pass') hasTests ||= event.data.name !== file;
    const summary = event.type === 'test:diagnostic' ? /^(\w+) (\d+)$/.exec(event.data.message) : null;
    if (summary?.[1] !== undefined) counts.set(summary[1], Number(summary[2]));
    else if (event.type !== 'test:diagnostic' || !event.data.message.startsWith('duration_ms'))
      reporter.write(event);
  }
  await new Promise<void>((resolve) => reporter.end(resolve));
  running.delete(nameOf(file));
  if (!hasTests && failed.length === 0) failed.push('no test ran');
  const seconds = (performance.now() - begunAt) / 1_000;
  process.stdout.write(`${nameOf(file)} (${seconds.toFixed(1)} s)\n${output.join('')}`);
  return { file: nameOf(file), seconds, counts, failed };
}

/** A log that is cut still says at its end why a test failed. */
function named({ name, details }: { name: string; details: { error: Error & { cause?: unknown } } }): string {
  const reason = details.error.cause instanceof Error ? details.error.cause.message : details.error.message;
  return [name, ...reason.split('\n', reasonLines)].join('\n    ');
}

function report(): void {
  const folders = new Map<string, number>();
  for (const { file, seconds } of finished) {
    const folder = file.split('/')[0] ?? '';
    folders.set(folder, (folders.get(folder) ?? 0) + seconds);
  }
  const bySeconds = (a: [string, number], b: [string, number]): number => b[1] - a[1];
  const line = ([name, seconds]: [string, number]): string =>
    `  ${seconds.toFixed(1).padStart(7)} s  ${name}\n`;
  const slow = finished.map(({ file, seconds }): [string, number] => [file, seconds]).sort(bySeconds);
  process.stdout.write(
    `\ntime of each folder (${concurrency} files at a time):\n${[...folders].sort(bySeconds).map(line).join('')}` +
      `slowest files:\n${slow.slice(0, 10).map(line).join('')}`,
  );
  for (const { file, failed } of finished.filter((one) => one.failed.length > 0))
    process.stdout.write(`failed in ${file}:\n${failed.map((title) => `  ${title}\n`).join('')}`);
  const sum = (name: string): number =>
    finished.reduce((total, { counts }) => total + (counts.get(name) ?? 0), 0);
  const names = ['tests', 'pass', 'fail', 'cancelled', 'skipped', 'todo'];
  const minutes = (performance.now() - startedAt) / 60_000;
  process.stdout.write(
    `${names.map((name) => `${name} ${sum(name)}`).join(', ')} in ${minutes.toFixed(1)} min\n`,
  );
  const isGreen = finished.length === files.length && finished.every(({ failed }) => failed.length === 0);
  if (!isGreen || sum('pass') + sum('skipped') + sum('todo') !== sum('tests')) process.exitCode = 1;
}

function nameOf(file: string): string {
  return relative(import.meta.dirname, file);
}
