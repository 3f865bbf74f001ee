// `npm pack` makes the package that readers of the events install, from the root of the clone, whose package.json lists what
// the processes need. So `prepack` puts the package's manifest in its place at its end, and `postpack` puts the clone's back.
// Where npm was stopped in the second between the two, the next command of local/bootstrap.mjs does. Plain JavaScript
// without dependencies, because bootstrap.mjs imports it before there are any.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifestFile = join(root, 'package.json');
/** The clone's manifest while the package's is in its place. */
const asideFile = join(root, '.local', 'package.json');

/** What the modules of the package import; a test compares it with their import declarations. */
const imported = ['@kafkajs/confluent-schema-registry', 'avsc', 'kafkajs', 'snappy', 'zod'];
/** What a reader of the events may bring along. */
const optional = ['prom-client'];

/** The text of the package's manifest. @param text - the clone's. */
function packageManifest(text) {
  const whole = JSON.parse(text);
  const manifest = {
    ...without(whole, 'bin', 'devDependencies', 'allowScripts'),
    // The sources stay in the clone.
    exports: Object.fromEntries(
      Object.entries(whole.exports).map(([path, conditions]) => [path, without(conditions, 'bridge-source')]),
    ),
    // None at all would leave the clone without `npm start` when npm was stopped before postpack.
    scripts: without(whole.scripts, 'prepare'),
    dependencies: pick(whole.dependencies, imported),
    peerDependencies: pick(whole.dependencies, optional),
    peerDependenciesMeta: Object.fromEntries(optional.map((name) => [name, { optional: true }])),
  };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

function without(object, ...names) {
  return Object.fromEntries(Object.entries(object).filter(([name]) => !names.includes(name)));
}

function pick(object, names) {
  return Object.fromEntries(names.map((name) => [name, object[name]]));
}

/** Puts the package's manifest in the place of the clone's. */
function set() {
  restore();
  const text = readFileSync(manifestFile, 'utf8');
  mkdirSync(dirname(asideFile), { recursive: true });
  replace(asideFile, text);
  replace(manifestFile, packageManifest(text));
}

/**
 * Puts the clone's manifest back, if the package's is in its place.
 * @returns whether it was.
 * @throws Error when package.json has been edited meanwhile.
 */
export function restore() {
  if (!existsSync(asideFile)) return false;
  const text = readFileSync(asideFile, 'utf8');
  const present = readFileSync(manifestFile, 'utf8');
  if (present !== text && present !== packageManifest(text)) {
    throw new Error(
      'npm pack was stopped, and package.json was edited before it was whole again: the whole one is .local/package.json. ' +
        'Make the change in that file and move it over package.json.',
    );
  }
  renameSync(asideFile, manifestFile);
  return true;
}

/** Writes a file so that it is there either before or after. */
function replace(file, text) {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [command] = process.argv.slice(2);
  try {
    if (command === 'set') set();
    else if (command === 'restore') {
      if (!restore())
        throw new Error('the tarball is wrong: another command put package.json back. Pack again.');
    } else throw new Error('usage: node local/manifest.mjs set|restore');
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
