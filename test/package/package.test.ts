import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { after, before, describe, test } from 'node:test';
import ts from 'typescript';
import { sample, samples, type Sample } from '../../consumers/neuros/samples/index.ts';
import { projectRoot } from '../../process/root.ts';
import { neurosStack } from '../consumers/neuros/harness.ts';
import { until } from '../consumers/priority-stack.ts';
import { copyClone, pack, projectWith, run, type Tarball } from './pack.ts';

const root = projectRoot();
const folder = mkdtempSync(join(tmpdir(), 'package-'));
after(() => rmSync(folder, { recursive: true }));

const copy = join(folder, 'clone');
/** The kafkajs that the user has: the same version, but as it was published. */
const own = 'kafkajs@2.2.4';
const projects = { scripts: join(folder, 'scripts'), none: join(folder, 'none'), own: join(folder, 'own') };
let tarball: Tarball;

before(async () => {
  copyClone(copy);
  tarball = await pack(copy);
  const file = join(copy, tarball.filename);
  await Promise.all([
    projectWith(projects.scripts, [file]),
    projectWith(projects.none, [file], '--ignore-scripts'),
    projectWith(projects.own, [own, file]),
  ]);
});

interface Manifest {
  readonly bin?: unknown;
  readonly scripts: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies?: unknown;
  readonly peerDependencies: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta: Readonly<Record<string, { readonly optional?: boolean }>>;
}

const installed = join('node_modules', 'biometric-bridge');
const manifest = (): Manifest =>
  JSON.parse(readFileSync(join(projects.scripts, installed, 'package.json'), 'utf8')) as Manifest;

describe('the tarball', () => {
  test('holds what a reader uses, and is small', () => {
    const needed =
      /^(package\.json|README\.md|docs\/neuros\.md|examples\/[^/]+|dist\/package\/.*\.(js|d\.ts)|schemas\/.*\.avsc|consumers\/neuros\/.*\.(json|sql)|node_modules\/kafkajs\/.*)$/;
    assert.deepEqual(
      tarball.files.filter(({ path }) => !needed.test(path)),
      [],
    );
    assert.ok(tarball.size < 300_000, `the tarball takes ${tarball.size} bytes`);
  });

  test('runs nothing where it is installed, and leaves no manifest of its own in the clone', () => {
    const { bin, devDependencies, scripts } = manifest();
    assert.deepEqual({ bin, devDependencies }, { bin: undefined, devDependencies: undefined });
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
      assert.ok(!(name in scripts), name);
    assert.equal(
      readFileSync(join(copy, 'package.json'), 'utf8'),
      readFileSync(join(root, 'package.json'), 'utf8'),
    );
  });

  test('depends on just what its modules import', () => {
    const { exports, dependencies, peerDependencies, peerDependenciesMeta } = manifest();
    const entries = Object.values(exports);
    const code = graphOf(entries.map((conditions) => conditions['default'] ?? ''));
    const types = graphOf(entries.map((conditions) => conditions['types'] ?? ''));
    const optional = Object.keys(peerDependencies).filter(
      (name) => peerDependenciesMeta[name]?.optional === true,
    );
    assert.deepEqual(optional, Object.keys(peerDependencies));
    assert.deepEqual(
      [...code.packages].filter((name) => !optional.includes(name)).sort(),
      Object.keys(dependencies).sort(),
    );
    const undeclared = [...types.packages].filter((name) => !(name in dependencies));
    assert.deepEqual(undeclared, [], 'types of packages that a user may not have');
    const reached = new Set([...code.files, ...types.files].map((file) => file.replace(/\.(js|d\.ts)$/, '')));
    const unused = tarball.files
      .map(({ path }) => path)
      .filter((path) => path.startsWith('dist/package/') && !path.startsWith('dist/package/examples/'))
      .filter((path) => !reached.has(path.replace(/\.(js|d\.ts)$/, '')));
    assert.deepEqual(unused, [], 'modules that nothing imports');
  });
});

/** The modules of the installed package that some of them import, and the packages that these do. */
function graphOf(entries: readonly string[]): {
  readonly files: Set<string>;
  readonly packages: Set<string>;
} {
  const files = new Set<string>();
  const packages = new Set<string>();
  const visit = (path: string): void => {
    const file = relative('.', path);
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(join(projects.scripts, installed, file), 'utf8');
    for (const { fileName } of ts.preProcessFile(text, true, true).importedFiles) {
      if (fileName.startsWith('.')) {
        // A declaration names the source that it was made from.
        const next = join(dirname(file), fileName);
        visit(file.endsWith('.d.ts') ? next.replace(/\.(js|ts)$/, '.d.ts') : next);
      } else if (!fileName.startsWith('node:')) {
        packages.add(/^(@[^/]+\/)?[^/]+/.exec(fileName)?.[0] ?? fileName);
      }
    }
  };
  for (const entry of entries) visit(entry);
  return { files, packages };
}

describe('the package', () => {
  for (const [how, project] of [
    ['installed with scripts', projects.scripts],
    ['installed without scripts', projects.none],
    ["installed next to the user's own kafkajs", projects.own],
  ] as const) {
    test(`${how} runs under plain node, on the patched kafkajs`, async () => {
      const { exported, raised, kafkajs } = await imported(project);
      assert.ok(exported.schemas.includes('createDecoder'));
      assert.ok(exported.samples.includes('samples'));
      assert.ok(exported.neuros.includes('NeurosClient'));
      assert.deepEqual(new Set(raised), alertsOf(samples));
      assert.equal(
        relative(join(project, installed), kafkajs.path),
        join('node_modules', 'kafkajs', 'index.js'),
      );
      assert.ok(kafkajs.isPatched);
      assert.deepEqual(treeOf(dirname(kafkajs.path)), treeOf(join(root, 'node_modules', 'kafkajs')));
    });
  }

  test("leaves the user's own kafkajs as it was published", async () => {
    const { ownKafkajs } = await imported(projects.own);
    assert.equal(ownKafkajs?.path, join(projects.own, 'node_modules', 'kafkajs', 'index.js'));
    assert.ok(!ownKafkajs.isPatched);
    assert.equal((await imported(projects.scripts)).ownKafkajs, null);
  });

  for (const [resolution, module] of [
    ['nodenext', 'nodenext'],
    ['bundler', 'esnext'],
  ] as const) {
    test(`compiles in a strict project that resolves modules as ${resolution} does`, async () => {
      const types = join(projects.scripts, 'node_modules', '@types');
      mkdirSync(types, { recursive: true });
      if (!existsSync(join(types, 'node')))
        symlinkSync(join(root, 'node_modules', '@types', 'node'), join(types, 'node'));
      const source = join(projects.scripts, `${resolution}.ts`);
      writeFileSync(source, typedReader);
      const options = [
        '--strict',
        '--exactOptionalPropertyTypes',
        '--noUncheckedIndexedAccess',
        '--noEmit',
        '--skipLibCheck',
        'false',
        // The types of JavaScript itself.
        '--skipDefaultLibCheck',
      ];
      const target = [
        '--target',
        'es2023',
        '--types',
        'node',
        '--module',
        module,
        '--moduleResolution',
        resolution,
      ];
      const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
      await run(process.execPath, [tsc, '--ignoreConfig', ...options, ...target, source], projects.scripts);
    });
  }
});

describe('the example', () => {
  for (const [how, cwd, args] of [
    [
      'of the package runs under plain node',
      projects.none,
      [join(installed, 'dist', 'package', 'examples', 'neuros.js')],
    ],
    [
      'of the clone runs from its sources',
      root,
      ['--conditions=bridge-source', '--import', 'tsx', join('examples', 'neuros.ts')],
    ],
  ] as const) {
    test(`${how}, against a broker`, async () => {
      const stack = await neurosStack();
      const env = {
        PATH: process.env['PATH'],
        KAFKA_BOOTSTRAP_SERVERS: stack.brokers.join(','),
        SCHEMA_REGISTRY_URL: stack.registryUrl,
        TOPIC_PREFIX: stack.prefix,
      };
      const child = spawn(process.execPath, args, { cwd, env });
      const exited = once(child, 'exit');
      let printed = '';
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => (printed += text));
      try {
        const { event } = sample('terra-sleep');
        await stack.send([event]);
        const lines = (): number => printed.split('\n').length - 1;
        await until('the advice', () => lines() >= event.triggers.length || child.exitCode !== null);
        child.kill('SIGTERM');
        assert.deepEqual(await exited, [0, null], printed);
        assert.match(
          printed,
          /^announced \S+ {2}to \S+ \(terra\): put everything down .*\nannounced \S+ {2}to \S+ \(terra\): go to bed .*\n$/,
        );
      } finally {
        child.kill('SIGKILL');
        await stack.close();
      }
    });
  }
});

describe('npm pack', () => {
  const file = join(copy, 'package.json');
  const text = (): string => readFileSync(file, 'utf8');
  const node = (...args: string[]): Promise<string> => run(process.execPath, args, copy);

  test('that was stopped half-way leaves the clone usable, and the next command puts its manifest back', async () => {
    const whole = text();
    await node('local/manifest.mjs', 'set');
    assert.notEqual(text(), whole);
    assert.equal((JSON.parse(text()) as Manifest).scripts['start'], 'exec node local/bootstrap.mjs start');
    assert.match(await node('local/bootstrap.mjs', 'prepare'), /put package\.json back/);
    assert.equal(text(), whole);
    assert.doesNotMatch(await node('local/bootstrap.mjs', 'prepare'), /package\.json/);
  });

  test('that was stopped half-way does not cost a change that was made since', async () => {
    const whole = text();
    await node('local/manifest.mjs', 'set');
    const edited = text().replace('"version": "', '"version": "1');
    writeFileSync(file, edited);
    await assert.rejects(node('local/bootstrap.mjs', 'prepare'), /package\.json was edited/);
    assert.equal(text(), edited);
    assert.equal(readFileSync(join(copy, '.local', 'package.json'), 'utf8'), whole);
    renameSync(join(copy, '.local', 'package.json'), file);
  });

  test('fails when another command has put the manifest of the clone into the tarball', async () => {
    await assert.rejects(node('local/manifest.mjs', 'restore'), /the tarball is wrong: .* Pack again\./);
  });

  test('refuses a kafkajs that does not become the patched one', async () => {
    const kafkajs = join(copy, 'node_modules', 'kafkajs');
    const whole = text();
    rmSync(join(kafkajs, '.patched'));
    writeFileSync(join(kafkajs, 'src', 'index.js'), '// Something else.');
    await assert.rejects(pack(copy), /the patch of kafkajs does not apply/);
    assert.equal(text(), whole);
  });
});

interface Kafkajs {
  readonly path: string;
  readonly isPatched: boolean;
}

interface Imported {
  readonly exported: Readonly<Record<'neuros' | 'samples' | 'schemas', readonly string[]>>;
  /** The alerts that a test driver hands over for the samples. */
  readonly raised: readonly string[];
  readonly kafkajs: Kafkajs;
  /** What the user's own code gets; null where the user has none. */
  readonly ownKafkajs: Kafkajs | null;
}

const reader = `
import { createRequire } from 'node:module';
import * as neuros from 'biometric-bridge/neuros';
import * as samples from 'biometric-bridge/neuros/samples';
import * as schemas from 'biometric-bridge/schemas';

const { createDecoder, biometricEventAvsc } = schemas;
const [first] = samples.samples;
const type = (await import('avsc')).default.Type.forSchema(JSON.parse(biometricEventAvsc));
const decoder = createDecoder(async () => type);
await decoder.prepare(9);
if (decoder.decode(first.value(9)).event_id !== first.event.event_id) throw new Error('the sample is not its bytes');

const raised = [];
const driver = new neuros.NeurosTestDriver({ onAlert: ({ alert_id }) => raised.push(alert_id) });
await driver.pipe(...samples.samples.map(({ event }) => event));

function kafkajs(from) {
  const require = createRequire(from);
  const { Kafka } = require('kafkajs');
  const client = new Kafka({ clientId: 'c', brokers: ['localhost:1'] });
  return { path: require.resolve('kafkajs'), isPatched: typeof client.fetcher === 'function' };
}
let ownKafkajs = null;
try {
  ownKafkajs = kafkajs(import.meta.url);
} catch (error) {
  if (error.code !== 'MODULE_NOT_FOUND') throw error;
}
console.log(JSON.stringify({
  exported: { neuros: Object.keys(neuros), samples: Object.keys(samples), schemas: Object.keys(schemas) },
  raised,
  kafkajs: kafkajs(import.meta.resolve('biometric-bridge/neuros')),
  ownKafkajs,
}));
`;

/** What a program of the user's gets of the package, under plain node. */
async function imported(project: string): Promise<Imported> {
  writeFileSync(join(project, 'reader.js'), reader);
  return JSON.parse(await run(process.execPath, ['reader.js'], project)) as Imported;
}

const typedReader = `
import { NeurosClient, NeurosTestDriver, type NeurosOptions } from 'biometric-bridge/neuros';
import { createDecoder, lookupSchemaId, priorityTopics, schemaRegistry, subjectOf, type BiometricEvent } from 'biometric-bridge/schemas';
import { sample, type Sample } from 'biometric-bridge/neuros/samples';

const registry = schemaRegistry({ SCHEMA_REGISTRY_URL: 'http://localhost:1' });
const decoder = createDecoder((id) => registry.typeById(id));
const one: Sample = sample('oura-workout');
const event: BiometricEvent = decoder.decode(one.value());
const id: number = await lookupSchemaId(registry, subjectOf(priorityTopics('')[event.priority]));
// @ts-expect-error hrv is a number or null
const hrv: string = event.hrv;
console.log(id, hrv, event.triggers.map(({ alert_id }) => alert_id));

const handlers = {
  onEvent: (one) => console.log(one.kind),
  onAlert: async (alert, { event: { user_id }, signal }) => console.log(alert.recommendation, user_id, signal.aborted),
} satisfies Partial<NeurosOptions>;
await new NeurosTestDriver(handlers).pipe(event);
const neuros = new NeurosClient({ brokers: ['localhost:1'], registry: 'http://localhost:1', groupId: 'g', ...handlers });
// @ts-expect-error brokers is a list
new NeurosClient({ brokers: 'localhost:1', registry: 'http://localhost:1', groupId: 'g', ...handlers });
await neuros.run();
`;

/** The alerts of events that are not too late to say anything about. */
function alertsOf(all: readonly Sample[]): Set<string> {
  const timely = all.map(({ event }) => event).filter(({ flags }) => !flags.includes('stale'));
  return new Set(timely.flatMap(({ triggers }) => triggers.map(({ alert_id }) => alert_id)));
}

/** The files of a folder, by path. */
function treeOf(folder: string): Map<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  return new Map(
    files
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((path) => [relative(folder, path), readFileSync(path, 'base64')]),
  );
}
