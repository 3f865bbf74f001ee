/**
 * `npm run test:faults`: the fault tests at length, on a stack of their own with fresh data on free ports, and a summary
 * of what they reported. Arguments choose files by a part of their name.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { startStack } from '../../local/stack.ts';
import { faultSeed } from './settings.ts';

const usage = `Usage: npm run test:faults [-- [--rounds N] [PART_OF_NAME...]]

Runs every fault test, or the files whose name contains one of the arguments, each with N rounds of its fault (30).
FAULT_SEED repeats a run.
`;
/** What a round of the slowest file may take; the tests themselves have closer limits. */
const roundDeadlineMs = 3 * 60_000;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { rounds: { type: 'string', default: '30' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true) {
    process.stdout.write(usage);
    return 0;
  }
  const rounds = Number(values.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) {
    process.stderr.write('--rounds takes a whole number from 1\n');
    return 1;
  }
  const files = readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.test.ts'))
    .filter((file) => positionals.length === 0 || positionals.some((part) => file.includes(part)))
    .sort();
  if (files.length === 0) {
    process.stderr.write(`no fault test has ${positionals.join(' or ')} in its name\n`);
    return 1;
  }
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupted.abort());
  const stack = await startStack({
    directory: '.local/faults',
    ports: 'free',
    fresh: true,
    signal: interrupted.signal,
    onProgress: (line) => process.stdout.write(`${line}\n`),
  });
  const folder = mkdtempSync(join(tmpdir(), 'faults-'));
  const report = join(folder, 'report');
  writeFileSync(report, '');
  try {
    process.stdout.write(`running ${files.length} files with ${rounds} rounds, FAULT_SEED=${faultSeed}\n`);
    const code = await runFiles(files, interrupted.signal, rounds * roundDeadlineMs + 10 * 60_000, {
      ...stack.env,
      FAULT_ROUNDS: String(rounds),
      FAULT_SEED: String(faultSeed),
      FAULT_REPORT: report,
    });
    summarize(readFileSync(report, 'utf8'));
    return code;
  } finally {
    rmSync(folder, { recursive: true });
    await stack.stop();
  }
}

function runFiles(
  files: readonly string[],
  interrupted: AbortSignal,
  deadlineMs: number,
  env: Record<string, string>,
): Promise<number> {
  // The environment of whoever runs the tests must not reach them: the stack's own is the only one.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in env)));
  return new Promise((resolve, reject) => {
    const paths = files.map((file) => relative(process.cwd(), join(import.meta.dirname, file)));
    const options = [
      '--test',
      '--test-concurrency=2',
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

/** One line per test, then the sums of all figures that add up. */
function summarize(lines: string): void {
  const sums: Record<string, number> = {};
  process.stdout.write('\nwhat was seen:\n');
  for (const line of lines.split('\n').filter((one) => one !== '')) {
    process.stdout.write(`${line}\n`);
    const figures = JSON.parse(line) as Record<string, unknown>;
    for (const [name, value] of Object.entries(figures))
      if (typeof value === 'number' && name !== 'seed') sums[name] = (sums[name] ?? 0) + value;
  }
  process.stdout.write(`in all: ${JSON.stringify(sums)}\n`);
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
