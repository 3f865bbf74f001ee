/**
 * `npm run test:faults` and `npm run test:edge`: the tests of one folder at length, on a stack of their own with fresh data
 * on free ports, and a summary of what they reported. Arguments choose files by a part of their name.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { startStack } from '../local/stack.ts';
import { edgeSeed } from './edge/settings.ts';
import { faultSeed } from './faults/settings.ts';

interface Suite {
  readonly usage: string;
  /** Of the tests in the folder, one after the other; the tests themselves have closer limits. */
  deadlineMs(rounds: number): number;
  env(rounds: number, seed: string | undefined): Record<string, string>;
}

const suites: Readonly<Record<string, Suite>> = {
  faults: {
    usage: `Usage: npm run test:faults [-- [--rounds N] [--seed N] [PART_OF_NAME...]]

Runs every fault test, or the files whose name contains one of the arguments, each with N rounds of its fault (30).
--seed or FAULT_SEED repeats a run.
`,
    deadlineMs: (rounds) => rounds * 3 * 60_000 + 10 * 60_000,
    env: (rounds, seed) => ({ FAULT_ROUNDS: String(rounds), FAULT_SEED: seed ?? String(faultSeed) }),
  },
  edge: {
    usage: `Usage: npm run test:edge [-- [--seed N] [PART_OF_NAME...]]

Runs every test of the edge at its full length, or the files whose name contains one of the arguments.
--seed or EDGE_SEED repeats what the fuzz test sends.
`,
    deadlineMs: () => 30 * 60_000,
    env: (_, seed) => ({ EDGE_FULL: 'on', EDGE_SEED: seed ?? String(edgeSeed) }),
  },
};

async function main(): Promise<number> {
  const {
    values,
    positionals: [name = '', ...parts],
  } = parseArgs({
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '30' },
      seed: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const suite = suites[name];
  if (suite === undefined) {
    process.stderr.write(`which tests: ${Object.keys(suites).join(' or ')}?\n`);
    return 1;
  }
  if (values.help === true) {
    process.stdout.write(suite.usage);
    return 0;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write('--rounds takes a whole number from 1\n');
    return 1;
  }
  if (values.seed !== undefined && !/^\d{1,15}$/.test(values.seed)) {
    process.stderr.write('--seed takes a whole number\n');
    return 1;
  }
  const folder = join(import.meta.dirname, name);
  const files = readdirSync(folder)
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .sort();
  if (files.length === 0) {
    process.stderr.write(`no test of ${name} has ${parts.join(' or ')} in its name\n`);
    return 1;
  }
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
    const env = { ...suite.env(rounds, values.seed), FAULT_REPORT: report };
    const shown = Object.entries(env).filter(([variable]) => variable !== 'FAULT_REPORT');
    process.stdout.write(
      `running ${files.length} files with ${shown.map(([variable, value]) => `${variable}=${value}`).join(' ')}\n`,
    );
    const paths = files.map((file) => relative(process.cwd(), join(folder, file)));
    const code = await runFiles(paths, interrupted.signal, {
      deadlineMs: suite.deadlineMs(rounds),
      // What the edge takes at the same time as other tests is no figure of its own.
      concurrency: name === 'edge' ? 1 : 2,
      env: { ...stack.env, ...env },
    });
    summarize(readFileSync(report, 'utf8'), name === 'faults');
    return code;
  } finally {
    rmSync(reports, { recursive: true });
    await stack.stop();
  }
}

function runFiles(
  paths: readonly string[],
  interrupted: AbortSignal,
  given: { readonly deadlineMs: number; readonly concurrency: number; readonly env: Record<string, string> },
): Promise<number> {
  const { deadlineMs, concurrency, env } = given;
  // The environment of whoever runs the tests must not reach them: the stack's own is the only one.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in env)));
  return new Promise((resolve, reject) => {
    const options = [
      '--test',
      `--test-concurrency=${concurrency}`,
      `--test-timeout=${deadlineMs}`,
      '--test-reporter=spec',
    ];
    const child = spawn(process.execPath, ['--import', 'tsx', ...options, ...paths], {
      stdio: 'inherit',
      env: { ...inherited, ...env, LOG_LEVEL: 'silent' },
      detached: true,
    });
    // The runner's own children must end with it: the whole group is signalled.
    const stop = (): void => {
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, 'SIGTERM');
    };
    if (interrupted.aborted) stop();
    interrupted.addEventListener('abort', stop);
    child.once('error', reject);
    child.once('exit', (code, signal) => resolve(signal === null ? (code ?? 1) : 130));
  });
}

/** One line per test, then, where figures add up, their sums. */
function summarize(lines: string, addsUp: boolean): void {
  const sums: Record<string, number> = {};
  process.stdout.write('\nwhat was seen:\n');
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
