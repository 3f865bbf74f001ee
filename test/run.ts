/**
 * `npm test`: starts a stack of its own with fresh data on free ports, runs every test file against it with node:test,
 * and stops it again, also when it is interrupted. Arguments choose files by a part of their path.
 */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { startStack } from '../local/stack.ts';
import { projectRoot } from '../process/root.ts';

/** A run that takes longer hangs: the whole suite takes less than half of it on two cores. */
const deadlineMs = 25 * 60_000;
const usage = `Usage: npm test [-- PART_OF_PATH...]

Runs every test, or the files whose path contains one of the arguments, against a stack of its own.
`;

async function main(args: string[]): Promise<number> {
  if (args.includes('--help') || args.includes('-h')) {
    process.stdout.write(usage);
    return 0;
  }
  const root = projectRoot();
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts'))
    .map((file) => relative(process.cwd(), join(root, 'test', file)))
    .filter((file) => args.length === 0 || args.some((part) => file.includes(part)))
    .sort();
  if (files.length === 0) {
    process.stderr.write(`no test file has ${args.join(' or ')} in its path\n`);
    return 1;
  }
  const interrupted = new AbortController();
  let end = (): void => undefined;
  const onSignal = (): void => {
    interrupted.abort();
    end();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  const stack = await startStack({
    directory: '.local/test',
    ports: 'free',
    fresh: true,
    signal: interrupted.signal,
    onProgress: (line) => process.stdout.write(`${line}\n`),
  });
  try {
    const all = args.length === 0;
    process.stdout.write(
      `running ${files.length} test files${all ? ', all there are: nothing is left out' : ''}\n`,
    );
    return await runFiles(files, stack.env, (stop) => {
      end = stop;
      if (interrupted.signal.aborted) stop();
    });
  } finally {
    await stack.stop();
  }
}

function runFiles(
  files: readonly string[],
  env: Record<string, string>,
  onStarted: (stop: () => void) => void,
): Promise<number> {
  // The environment of whoever runs the tests must not reach them: the stack's own is the only one.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !(name in env)));
  return new Promise((resolve, reject) => {
    const child = spawn(
      process.execPath,
      [
        '--import',
        'tsx',
        '--test',
        '--test-concurrency=2',
        '--test-timeout=480000',
        '--test-reporter=spec',
        ...files,
      ],
      { stdio: 'inherit', env: { ...inherited, ...env, LOG_LEVEL: 'silent' }, detached: true },
    );
    const stopGroup = (signal: NodeJS.Signals): void => {
      // The runner's own children must end with it: the whole group is signalled.
      if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, signal);
    };
    const late = setTimeout(() => {
      process.stderr.write(`the tests did not end within ${deadlineMs / 60_000} min and are stopped\n`);
      stopGroup('SIGKILL');
    }, deadlineMs);
    onStarted(() => stopGroup('SIGTERM'));
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      clearTimeout(late);
      resolve(signal === null ? (code ?? 1) : 130);
    });
  });
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.message : 'the tests could not be started'}\n`);
    process.exitCode = 1;
  },
);
