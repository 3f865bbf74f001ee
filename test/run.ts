/**
 * `npm test`, `npm run test:faults` and `npm run test:edge`: starts a stack of its own with fresh data on free ports, runs
 * test files against it, and stops it again, also when it is interrupted.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startStack } from '../local/stack.ts';
import { build } from './build.ts';
import { edgeSeed } from './edge/settings.ts';
import { faultSeed } from './faults/settings.ts';

interface Suite {
  readonly usage: string;
  /** Whether a file, by its path in test/, belongs to the suite. */
  includes(file: string): boolean;
  /** Files at a time. More than the cores of a small machine, because many only wait for a broker. */
  readonly concurrency: number;
  /** For one file, and for all of them; a file or a run that takes longer hangs. The tests have closer limits. */
  fileDeadlineMs(rounds: number): number;
  deadlineMs(rounds: number): number;
  env(rounds: number, seed: string | undefined): Record<string, string>;
}

const suites: Readonly<Record<string, Suite>> = {
  test: {
    usage: `Usage: npm test [-- PART_OF_PATH...]

Runs every test but the faults (npm run test:faults), or the files whose path contains one of the arguments, the
faults among them, against a stack of its own. Prints the time of each folder and the slowest files.
`,
    includes: (file) => !file.startsWith('faults/'),
    concurrency: 3,
    fileDeadlineMs: () => 8 * 60_000,
    // Two and a half times what two cores take: a shared machine of half the speed has needed twenty minutes.
    deadlineMs: () => 30 * 60_000,
    env: () => ({}),
  },
  faults: {
    usage: `Usage: npm run test:faults [-- [--rounds N] [--seed N] [PART_OF_NAME...]]

Runs every fault test, or the files whose name contains one of the arguments, each with N rounds of its fault (30).
--seed or FAULT_SEED repeats a run.
`,
    includes: (file) => file.startsWith('faults/'),
    // Most of their time they wait for brokers and groups to notice.
    concurrency: 3,
    fileDeadlineMs: (rounds) => rounds * 2 * 60_000 + 8 * 60_000,
    deadlineMs: (rounds) => rounds * 6 * 60_000 + 24 * 60_000,
    env: (rounds, seed) => ({ FAULT_ROUNDS: String(rounds), FAULT_SEED: seed ?? String(faultSeed) }),
  },
  edge: {
    usage: `Usage: npm run test:edge [-- [--seed N] [PART_OF_NAME...]]

Runs every test of the edge at its full length, or the files whose name contains one of the arguments.
--seed or EDGE_SEED repeats what the fuzz test sends.
`,
    includes: (file) => file.startsWith('edge/'),
    // Figures of tests that run at the same time would be those of all of them.
    concurrency: 1,
    fileDeadlineMs: () => 20 * 60_000,
    deadlineMs: () => 30 * 60_000,
    env: (_, seed) => ({ EDGE_FULL: 'on', EDGE_SEED: seed ?? String(edgeSeed) }),
  },
};

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '30' },
      seed: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const [name = '', ...parts] = positionals;
  const suite = suites[name];
  if (suite === undefined) throw new Error(`the suite is one of ${Object.keys(suites).join(', ')}`);
  if (values.help === true) {
    process.stdout.write(suite.usage);
    return 0;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds takes a whole number from 1');
  if (values.seed !== undefined && !/^\d{1,15}$/.test(values.seed))
    throw new Error('--seed takes a whole number');
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => suite.includes(file) || (name === 'test' && parts.length > 0))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .sort();
  if (files.length === 0) throw new Error(`no test file has ${parts.join(' or ')} in its path`);
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort());
  const stack = await startStack({
    directory: `.local/${name}`,
    ports: 'free',
    fresh: true,
    signal: interrupted.signal,
    onProgress: (line) => process.stdout.write(`${line}\n`),
  });
  const reports = mkdtempSync(join(tmpdir(), `${name}-`));
  const report = join(reports, 'report');
  writeFileSync(report, '');
  try {
    const env = { TEST_BRIDGE: build(name), ...suite.env(rounds, values.seed) };
    const shown = Object.entries(suite.env(rounds, values.seed)).map(
      ([variable, value]) => ` ${variable}=${value}`,
    );
    process.stdout.write(`running ${files.length} test files${shown.join('')}\n`);
    const code = await runFiles(files, suite, rounds, interrupted.signal, {
      ...stack.env,
      ...env,
      ...(name === 'test' ? {} : { FAULT_REPORT: report }),
    });
    if (name !== 'test') summarize(readFileSync(report, 'utf8'), name === 'faults');
    return code;
  } finally {
    rmSync(reports, { recursive: true });
    await stack.stop();
  }
}

function runFiles(
  files: readonly string[],
  suite: Suite,
  rounds: number,
  interrupted: AbortSignal,
  env: Record<string, string>,
): Promise<number> {
  const deadlineMs = suite.deadlineMs(rounds);
  const args = [suite.concurrency, suite.fileDeadlineMs(rounds)].map(String);
  // The caller's environment must not reach the tests where the stack has variables of its own.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in env)));
  const runner = join(import.meta.dirname, 'files.ts');
  const paths = files.map((file) => join(import.meta.dirname, file));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', runner, ...args, ...paths], {
      stdio: 'inherit',
      env: { ...inherited, ...env, LOG_LEVEL: 'silent' },
      detached: true,
    });
    // What the tests have started must end with them: the whole group is signalled.
    const stopGroup = (signal: NodeJS.Signals): void => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal);
    };
    const stop = (): void => stopGroup('SIGTERM');
    const late = setTimeout(() => {
      process.stderr.write(`the tests did not end within ${deadlineMs / 60_000} min and are stopped\n`);
      // It names the files that still run before it ends.
      stop();
      setTimeout(() => stopGroup('SIGKILL'), 5_000).unref();
    }, deadlineMs);
    if (interrupted.aborted) stop();
    interrupted.addEventListener('abort', stop);
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(late);
      resolve(signal === null ? (code ?? 1) : 130);
    });
  });
}

/** One line per test, then, where figures add up, their sums. */
function summarize(lines: string, addsUp: boolean): void {
  const sums: Record<string, number> = {};
  process.stdout.write('\nfigures:\n');
  for (const line of lines.split('\n').filter((one) => one !== '')) {
    process.stdout.write(`${line}\n`);
    const figures = JSON.parse(line) as Record<string, unknown>;
    for (const [name, value] of Object.entries(figures))
      if (typeof value === 'number' && name !== 'seed') sums[name] = (sums[name] ?? 0) + value;
  }
  if (addsUp) process.stdout.write(`in all: ${JSON.stringify(sums)}\n`);
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : 'the tests could not be started'}\n`);
    process.exitCode = 1;
  },
);
