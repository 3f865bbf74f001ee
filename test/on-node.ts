/**
 * `npm run test:node -- 24`: runs the test files that need no stack on another version of Node.js. The npm package of that
 * version has its program; it is fetched once, into .local/node/.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { projectRoot } from '../process/root.ts';
import { build } from './build.ts';

const usage = `Usage: npm run test:node -- MAJOR [PART_OF_PATH...]

Runs the tests that need no stack, or the files among them whose path contains one of the arguments, on the newest Node.js of
that major version (22, 24, 26). Fetches it once into .local/node/; delete that folder to fetch a newer one.
`;
/** Long runs of whole processes, and the check of a document, which says nothing about a version of Node.js. */
const omitted = ['bridge/', 'docs/', 'edge/', 'faults/'];
/** What a file reads or calls that needs a stack, itself or through the other files of test/ that it imports. */
const ofStack =
  /process\.env\['(KAFKA_BOOTSTRAP_SERVERS|SCHEMA_REGISTRY_URL|POSTGRES_URL|REDIS_URL)'\]|\b(startStack|stackVariable)\b/;

function main(): void {
  const [major = '', ...parts] = process.argv.slice(2);
  if (!/^\d+$/.test(major)) {
    process.stderr.write(usage);
    process.exitCode = 2;
    return;
  }
  const files = readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.ts') && !omitted.some((folder) => file.startsWith(folder)))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)))
    .map((file) => join(import.meta.dirname, file))
    .filter((file) => !needsStack(file))
    .sort();
  if (files.length === 0)
    throw new Error(`no test file without a stack has ${parts.join(' or ')} in its path`);
  const program = nodeOf(major);
  const version = execFileSync(program, ['--version'], { encoding: 'utf8' }).trim();
  process.stdout.write(`running ${files.length} test files on Node.js ${version}\n`);
  const runner = join(import.meta.dirname, 'files.ts');
  const child = spawn(program, ['--import', 'tsx', runner, '3', String(5 * 60_000), ...files], {
    cwd: projectRoot(),
    stdio: 'inherit',
    env: { ...process.env, LOG_LEVEL: 'silent', TEST_BRIDGE: build('node') },
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal));
  child.once('exit', (code) => (process.exitCode = code ?? 130));
}

const known = new Map<string, boolean>();

function needsStack(file: string): boolean {
  const before = known.get(file);
  if (before !== undefined) return before;
  // While its imports are read: it may be among what they import.
  known.set(file, false);
  const text = readFileSync(file, 'utf8');
  const imported = [...text.matchAll(/from '(\.[^']+)'/g)]
    .map(([, path = '']) => resolve(dirname(file), path))
    .filter((path) => !relative(import.meta.dirname, path).startsWith('..'));
  const needs = ofStack.test(text) || imported.some(needsStack);
  known.set(file, needs);
  return needs;
}

/** The program of the newest version that was published when it was first asked for. */
function nodeOf(major: string): string {
  const name = `node-${process.platform}-${process.arch}`;
  const folder = join(projectRoot(), '.local', 'node', major);
  const program = join(folder, 'node_modules', name, 'bin', 'node');
  if (existsSync(program)) return program;
  process.stdout.write(`fetching Node.js ${major} (${name}) into ${relative(projectRoot(), folder)}\n`);
  mkdirSync(folder, { recursive: true });
  const options = ['--no-save', '--no-package-lock', '--ignore-scripts', '--no-audit', '--no-fund'];
  execFileSync('npm', ['install', '--prefix', folder, ...options, `${name}@${major}`], { stdio: 'inherit' });
  return program;
}

main();
