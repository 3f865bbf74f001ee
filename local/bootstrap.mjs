// `npm start` and `npm test` in a clone where nothing is prepared: installs the packages when they are missing or not
// those of package-lock.json, patches kafkajs, then becomes the command. Plain JavaScript without dependencies,
// because it runs before there are any; one process, so that signals and the exit code are the command's own.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

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

/** npm may be set not to run install scripts, so whether kafkajs is patched is not left to one. */
async function patch() {
  const hash = createHash('sha256');
  for (const file of readdirSync(join(root, 'patches')).sort()) {
    hash.update(readFileSync(join(root, 'patches', file)));
  }
  const wanted = hash.digest('hex');
  // Inside the package: whatever replaces the package takes the note with it.
  const note = join(root, 'node_modules', 'kafkajs', '.patched');
  if (existsSync(note) && readFileSync(note, 'utf8') === wanted) return;
  const apply = () =>
    run(process.execPath, [join(root, 'node_modules', 'patch-package', 'index.js'), '--error-on-fail']);
  if ((await apply()) !== 0) {
    // Most likely an earlier version of the patch is in there: start from the package as it was published.
    await install();
    if ((await apply()) !== 0) fail('the patch for kafkajs does not apply; patch-package tells why, above');
  }
  writeFileSync(note, wanted);
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
if (major < 20 || (major === 20 && minor < 12) || major === 21) {
  fail(
    `Node.js 20.12, or 22 or newer, is needed; this is ${process.version}. Install a newer one and start again.`,
  );
}
if (!installed()) await install();
await patch();

const [command, ...args] = process.argv.slice(2);
if (command === 'install') process.exit(0);
const script = {
  start: 'cli/bridge.mjs',
  test: 'test/run.ts',
  long: 'test/long.ts',
  bench: 'test/bench/main.ts',
}[command];
if (script === undefined) fail('usage: node local/bootstrap.mjs install|start|test|long|bench [arguments]');
process.argv = [process.execPath, join(root, script), ...(command === 'start' ? ['start'] : []), ...args];
const { register } = await import('tsx/esm/api');
register();
await import(new URL(`../${script}`, import.meta.url).href);
