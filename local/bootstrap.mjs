// What package.json's scripts run where nothing may be installed yet. `prepare`, which npm runs after every install in a
// clone, patches kafkajs. The other commands first install the packages when they are missing or not those of
// package-lock.json, patch kafkajs where npm runs no scripts (ignore-scripts), and then become the command. Plain
// JavaScript without dependencies, because it runs before there are any; one process, so that signals and the exit
// code are the command's own.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { restore } from './manifest.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
// Inside the package: whatever replaces the package takes the note with it.
const patchNote = join(root, 'node_modules', 'kafkajs', '.patched');

/** Whether node_modules holds just the versions of the lock file; packages for other platforms may be absent. */
function installed() {
  const note = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(note)) return false;
  const { packages: present } = JSON.parse(readFileSync(note, 'utf8'));
  const { packages: wanted } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || present[path]?.version === version || (optional === true && present[path] === undefined),
  );
}

async function install() {
  console.log('installing packages with npm ci (the first time this takes a minute or so)');
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  const code = await run(npm, ['ci', '--include=dev', '--no-audit', '--no-fund']);
  if (code !== 0) fail('npm ci did not succeed; its own message is above');
}

/** Applies patches/ to kafkajs, unless they are applied already; answers whether they are then. */
async function patch() {
  const hash = createHash('sha256');
  for (const file of readdirSync(join(root, 'patches')).sort()) {
    hash.update(readFileSync(join(root, 'patches', file)));
  }
  const wanted = hash.digest('hex');
  if (existsSync(patchNote) && readFileSync(patchNote, 'utf8') === wanted) return true;
  const program = join(root, 'node_modules', 'patch-package', 'index.js');
  if (!existsSync(program)) {
    fail(
      'kafkajs is not patched, and the bridge would lose its guarantees: patch-package is a development package. ' +
        'For a deployment run: npm ci --include=dev && npm run build && npm prune --omit=dev',
    );
  }
  if ((await run(process.execPath, [program, '--error-on-fail'])) !== 0) return false;
  writeFileSync(patchNote, wanted);
  return true;
}

function run(program, args) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: 'inherit' });
    const pass = () => child.kill('SIGTERM');
    process.once('SIGTERM', pass);
    child.once('error', (error) => fail(`${program} could not be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      process.off('SIGTERM', pass);
      if (signal !== null) process.exit(130);
      resolve(code);
    });
  });
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19) || major === 21) {
  fail(
    `Node.js 24 is recommended, 20.19 or 22 the oldest that works; this is ${process.version}. Install a newer one and start again.`,
  );
}
try {
  if (restore()) console.log('put package.json back, which npm pack had replaced before it was stopped');
} catch (error) {
  fail(error.message);
}
const [command, ...args] = process.argv.slice(2);
const doesNotApply = 'the patch of kafkajs does not apply; patch-package says why, above';
if (command === 'prepare') {
  if (!(await patch())) fail(`${doesNotApply}. npm ci begins with kafkajs as it was published.`);
  process.exit(0);
}
if (!installed()) await install();
if (!(await patch())) {
  // Most likely an earlier version of the patch is in there: begin with the package as it was published.
  await install();
  if (!(await patch())) fail(doesNotApply);
}
if (command === 'install') process.exit(0);
const script = {
  start: ['cli/main.ts', 'start'],
  test: ['test/run.ts', 'test'],
  faults: ['test/run.ts', 'faults'],
  edge: ['test/run.ts', 'edge'],
  node: ['test/on-node.ts'],
  bench: ['test/bench/main.ts'],
}[command];
if (script === undefined)
  fail('usage: node local/bootstrap.mjs prepare|install|start|test|faults|edge|node|bench [arguments]');
const [file, ...first] = script;
process.argv = [process.execPath, join(root, file), ...first, ...args];
const { register } = await import('tsx/esm/api');
register();
await import(new URL(`../${file}`, import.meta.url).href);
