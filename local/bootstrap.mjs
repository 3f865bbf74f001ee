// npm start and npm test in a clone where nothing is prepared: installs the packages when they are missing or older
// than package-lock.json, mends kafkajs, then runs the command. Plain JavaScript without dependencies, because it
// runs before there are any.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const oldestNode = 20;

/** Runs a program in the root of the clone, with our own terminal; answers its exit code. */
function run(program, args) {
  // Ctrl-C reaches the child from the terminal itself; we only wait for it. SIGTERM and SIGHUP come to us alone.
  const child = spawn(program, args, { cwd: root, stdio: 'inherit' });
  const wait = () => undefined;
  const pass = (signal) => child.kill(signal);
  process.on('SIGINT', wait);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, pass);
  return new Promise((resolve, reject) => {
    child.once('error', (error) =>
      reject(new Error(`${program} could not be started (${error.code ?? error.message})`)),
    );
    child.once('exit', (code, signal) => {
      process.off('SIGINT', wait);
      for (const each of ['SIGTERM', 'SIGHUP']) process.off(each, pass);
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}

async function must(what, program, args) {
  const code = await run(program, args);
  if (code !== 0) throw new Error(`${what} failed with exit code ${code}; its own message is above`);
}

async function install() {
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json'))).digest('hex');
  const stamp = join(root, 'node_modules', '.installed-lock');
  const installed = existsSync(stamp) && readFileSync(stamp, 'utf8') === lock;
  if (installed || agrees()) return;
  console.log('installing packages (npm ci); the first time this takes a minute or two');
  await must('npm ci', process.platform === 'win32' ? 'npm.cmd' : 'npm', ['ci', '--no-audit', '--no-fund']);
  writeFileSync(stamp, lock);
}

/** Whether somebody else's npm has installed just what the lock file says. */
function agrees() {
  const hidden = join(root, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const there = JSON.parse(readFileSync(hidden, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional }]) =>
      path === '' || there[path]?.version === version || (optional === true && there[path] === undefined),
  );
}

/** npm may be set not to run install scripts, ours included; patch-package itself leaves a note of what it did. */
async function patch() {
  const name = 'kafkajs+2.2.4.patch';
  const file = join(root, 'patches', name);
  const kafkajs = join(root, 'node_modules', 'kafkajs');
  const stamp = join(kafkajs, '.patched');
  const wanted = createHash('sha256').update(readFileSync(file)).digest('hex');
}
