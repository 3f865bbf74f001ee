import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { commands } from '../../cli/program.ts';
import { sinkVariables } from '../../consumers/postgres/main.ts';
import { ingressVariables } from '../../ingress/config.ts';
import { localVariables } from '../../local/variables.ts';
import { projectRoot, bridgeScript } from '../../process/root.ts';
import { topologyVariables } from '../../topology/config.ts';
import { bridgeProgram } from '../bridge-program.ts';
import { ended, type Ended } from './ended.ts';

/** Runs the program, with nothing in its environment and no local stack. */
function program(args: string[], nodeArgs: string[] = []): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [...nodeArgs, bridgeScript(), ...args],
      { env: { PATH: process.env['PATH'], LOCAL_DIRECTORY: '/nonexistent' } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    );
  });
}

const processes: Readonly<Record<string, object>> = {
  ingress: ingressVariables({}),
  topology: topologyVariables,
  sink: sinkVariables,
};
const known = new Set(
  [...Object.values(processes), localVariables, { NODE_ENV: '' }].flatMap((table) => Object.keys(table)),
);
const inside: Readonly<Record<string, readonly string[]>> = {
  schemas: ['register', 'check'],
  replay: ['diff', 'status', 'promote', 'discard'],
  token: ['healthkit'],
  local: ['up', 'down', 'reset'],
  'dead-letters': ['list', 'show', 'retry'],
};
const every = Object.keys(commands).flatMap((name) => [
  [name],
  ...(inside[name] ?? []).map((each) => [name, each]),
]);

/** The names in the section `Environment:`. */
function variablesOf(help: string): string[] {
  const section = help.slice(help.indexOf('\nEnvironment:\n'));
  return [...section.matchAll(/^ {2}([A-Z][A-Z0-9_]+) {2,}\S/gm)].map(([, name]) => name!);
}

describe('help', () => {
  for (const path of every) {
    test(`of bridge ${path.join(' ')} goes to standard output, describes the command, and names only variables that exist`, async () => {
      const { code, stdout, stderr } = await ended(...path, '--help');
      assert.deepEqual([code, stderr], [0, '']);
      assert.match(stdout, new RegExp(`^Usage: bridge ${path.join(' ')}(?: .*)?\n`));
      const usage = stdout.slice(0, stdout.indexOf('\n\n'));
      const own = [...usage.matchAll(/ bridge [\w-]+ ([a-z]+)/g)].map(([, command]) => command!);
      assert.deepEqual(own, path.length === 2 ? [path[1]] : (inside[path[0]!] ?? []));
      assert.match(stdout, /^(?:.+\n)+\n[A-Z][^\n]{20,}\n/, 'a description follows the usage');
      assert.match(stdout, /\nEnvironment:\n {2}\S/);
      for (const line of stdout.split('\n').slice(1)) assert.ok(line.length <= 80, line);
      // Usage lines name no variables; FULL_TRANSITIVE is a level of compatibility, and <NAME>_FILE any variable's.
      const named = [...stdout.matchAll(/(?<![\w>])[A-Z]+(?:_[A-Z0-9]+)+\b/g)].map(([name]) => name);
      const unknown = [...variablesOf(stdout), ...named].filter((name) => !known.has(name));
      assert.deepEqual(
        unknown.filter((name) => name !== 'FULL_TRANSITIVE'),
        [],
      );
    });
  }

  for (const [name, table] of Object.entries(processes)) {
    test(`of bridge ${name} names every variable of the process`, async () => {
      const { stdout } = await ended(name, '--help');
      assert.deepEqual(variablesOf(stdout), Object.keys(table));
      for (const [variable, { default: value }] of Object.entries(table as Record<string, { default?: 5 }>))
        if (typeof value === 'number')
          assert.match(
            stdout.replaceAll(/\n {4,}/g, ' '),
            new RegExp(`\\n {2}${variable} .*\\(default: ${value}\\)`),
          );
    });
  }

  test('of bridge config names the commands whose help lists the variables', async () => {
    const { stdout } = await ended('config', '--help');
    assert.match(stdout, /`bridge <process> --help` lists them/);
    const choices = /choices: ([^)]*)\)/.exec(stdout.replaceAll(/\s+/g, ' '))?.[1];
    assert.equal(
      choices,
      Object.keys(processes)
        .map((name) => `"${name}"`)
        .join(', '),
    );
  });

  test('of bridge local names every variable of the local stack', async () => {
    const { stdout } = await ended('local', '--help');
    assert.deepEqual(variablesOf(stdout), Object.keys(localVariables));
    const directory = join(projectRoot(), 'local');
    const sources = readdirSync(directory).filter((file) => file.endsWith('.ts'));
    const named = sources.flatMap(
      (file) => readFileSync(join(directory, file), 'utf8').match(/\bLOCAL_[A-Z_]*[A-Z]\b/g) ?? [],
    );
    assert.deepEqual(
      [...new Set(named)].sort(),
      Object.keys(localVariables)
        .filter((name) => name.startsWith('LOCAL_'))
        .sort(),
    );
  });

  test('is printed without arguments, lists each command, and is available by name', async () => {
    const [bare, ...others] = await Promise.all([ended(), ended('help'), ended('--help'), ended('-h')]);
    for (const other of others) assert.deepEqual(other, bare);
    assert.equal(bare.code, 0);
    for (const [name, { summary }] of Object.entries(commands)) {
      assert.ok(summary.length > 20);
      assert.match(bare.stdout, new RegExp(`^  ${name} +${summary.slice(0, 20)}`, 'm'));
    }
    assert.deepEqual(await ended('help', 'local', 'up'), await ended('local', 'up', '--help'));
  });
});

describe('a usage fault', () => {
  for (const [argv, message] of [
    [['nope'], /^bridge: unknown command 'nope'\n/],
    [['nope', '--help'], /^bridge: unknown command 'nope'\n/],
    [['help', 'nope'], /^bridge: unknown command 'nope'\n/],
    [['topicz'], /^bridge: unknown command 'topicz' \(Did you mean topics\?\)\n/],
    [['--chek', 'topics'], /^bridge: unknown option '--chek'\n/],
    [['topics', '--chek'], /^bridge topics: unknown option '--chek' \(Did you mean --check\?\)\n/],
    [['--', 'topics', '--check'], /^bridge topics: takes no arguments\n/],
    [['ingress', 'now'], /^bridge ingress: takes no arguments\n/],
    [['config', 'nope'], /^bridge config: .*Allowed choices are ingress, topology, sink\.\n/],
    [['config', 'sink', 'ingress'], /^bridge config: name one process\n/],
    [['describe', '--format', 'svg'], /^bridge describe: .*Allowed choices are text, mermaid, json\.\n/],
    [['start', '--rate', '0'], /^bridge start: .*It must be a number above 0\.\n/],
    [['start', '--seed'], /^bridge start: option '--seed <number>' argument missing\n/],
    [['explain', 'oura'], /^bridge explain: name one device and one file\n/],
    [['local'], /^Usage: bridge local up/],
    [['local', 'start'], /^bridge local: unknown command 'start'; valid commands: up, down, reset\n/],
    [['local', 'up', '--brokers', '2'], /^bridge local up: .*Allowed choices are 1, 3\.\n/],
    [['local', 'down', '--brokers', '1'], /^bridge local down: unknown option '--brokers'\n/],
  ] as const) {
    test(`bridge ${argv.join(' ')} prints the fault and its usage to standard error`, async () => {
      const { code, stdout, stderr } = await ended(...argv);
      assert.equal(code, 1);
      assert.equal(stdout, '');
      assert.match(stderr, message);
      assert.match(stderr, /^Usage: bridge /m);
    });
  }
});

/** Node arguments with which a program lists on standard error what its modules import, one URL a line. */
function listingImports(): string[] {
  const hook = `import { writeSync } from 'node:fs';
    export async function resolve(specifier, context, next) {
      const resolved = await next(specifier, context);
      writeSync(2, resolved.url + '\\n');
      return resolved;
    }`;
  const url = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;
  return ['--import', url(`import { register } from 'node:module'; register(${JSON.stringify(url(hook))});`)];
}

describe('the program', { timeout: 120_000, concurrency: 2 }, () => {
  test('prints help and exits with 0', async () => {
    const { code, stdout, stderr } = await program(['local', 'up', '--help']);
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /^Usage: bridge local up \[--brokers <count>\]\n/);
  });

  test('exits with 2 for usage faults, a missing subcommand included', async () => {
    for (const args of [['nope'], ['local']]) {
      const { code, stdout, stderr } = await program(args);
      assert.deepEqual([code, stdout], [2, '']);
      assert.match(stderr, /^Usage: bridge /m);
    }
  });

  test('exits with 2 for an environment that is not usable, without the usage', async () => {
    const { code, stdout, stderr } = await program(['topics']);
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(
      stderr,
      /^bridge topics: the environment is not usable:\n {2}KAFKA_BOOTSTRAP_SERVERS is required/,
    );
    assert.doesNotMatch(stderr, /Usage/);
  });

  test('stays silent when the reader of its output has gone', async () => {
    const stderr = await new Promise((resolve) => {
      const child = execFile(process.execPath, [bridgeProgram, 'describe'], (error, _, text) =>
        resolve(error === null ? text : error.message),
      );
      child.stdout?.destroy();
    });
    assert.equal(stderr, '');
  });

  test('loads only the requested command: the list of commands needs no Kafka, Express or Postgres', async () => {
    const heavy = /\/node_modules\/(kafkajs|express|pg|prom-client|avsc)\//;
    const [list, one] = await Promise.all([
      program(['--help'], listingImports()),
      program(['topics', '--help'], listingImports()),
    ]);
    assert.match(list.stderr, /\/node_modules\/commander\//);
    assert.doesNotMatch(list.stderr, heavy);
    assert.match(one.stderr, heavy);
  });
});
